"""Where settings come from: flags over environment over fewtune.toml over defaults; secrets are masked.

The environment's names are FEWTUNE_HOME, FEWTUNE_BASE, FEWTUNE_PROVIDER, FEWTUNE_ADDRESS, FEWTUNE_SEED,
FEWTUNE_FOUR_BIT and FEWTUNE_PRECISION.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any, Literal

import platformdirs
from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from fewtune.errors import UsageError, from_os_error
from fewtune.types import Precision, precision_of

FILE_NAME = "fewtune.toml"


class Settings(BaseSettings):
    """What holds for every command on this machine."""

    model_config = SettingsConfigDict(env_prefix="FEWTUNE_", toml_file=FILE_NAME, extra="forbid", frozen=True)

    home: Path = Field(default_factory=lambda: Path(platformdirs.user_data_dir("fewtune", appauthor=False)))
    """Folder of the state file and, unless `--out` says otherwise, of the runs."""
    base: str = "pocket"
    """The base to tune."""
    provider: str = "local"
    """Where to train and sample."""
    address: str | None = None
    """Of the cluster that `provider = "ray"` trains on: HOST:PORT, or `auto`; none starts one on this machine."""
    seed: int = Field(default=0, ge=0)
    """Seed of split, order, initial weights and sampling."""
    four_bit: bool = False
    """Keep the base in 4 bits when it is trained here, which takes CUDA and `fewtune[cuda]`."""
    precision: Literal["fp32", "bf16"] | None = None
    """In which the base is kept and multiplied here; none is bf16 on CUDA and fp32 elsewhere, and bf16 on a CPU takes
    matrix units for it."""

    @field_validator("precision")
    @classmethod
    def _is_one(cls, precision: str | None, info: ValidationInfo) -> str | None:
        if precision and info.data.get("four_bit"):
            raise PydanticCustomError("two_precisions", "four_bit is set too, and a base is kept in one precision")
        return precision

    @property
    def base_precision(self) -> Precision | None:
        return precision_of(self.four_bit, self.precision)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


def load(**flags: Any) -> Settings:
    """Settings with the given flags on top; a flag that is None was not given. Raises UsageError."""
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        raise _refused(error.errors()[0], flags) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"Not valid TOML: {error}.", where=FILE_NAME, fix="Mend it or remove it.") from error
    except OSError as error:
        raise from_os_error(error, "read the settings", Path(FILE_NAME)) from error


def _refused(problem: Any, flags: dict[str, Any]) -> UsageError:
    """Where the value came from, what it was, and what would do."""
    name = ".".join(map(str, problem["loc"]))
    if name not in Settings.model_fields:
        known = ", ".join(Settings.model_fields)
        return UsageError(f"There is no setting {name!r}.", where=FILE_NAME, fix=f"There are: {known}.")
    variable = f"FEWTUNE_{name.upper()}"
    where = f"--{name}" if flags.get(name) is not None else variable if variable in os.environ else FILE_NAME
    return UsageError(f"{name} cannot be {problem['input']!r}: {problem['msg']}.", where=where, fix="Change it there.")


def origins(**flags: Any) -> dict[str, tuple[Any, str]]:
    """Each setting with its value and where it came from: `flag`, `environment`, the file's name, or `default`."""
    settings = load(**flags)
    in_file: set[str] = set(TomlConfigSettingsSource(Settings)())
    found: dict[str, tuple[Any, str]] = {}
    for name in Settings.model_fields:
        origin = "default"
        if flags.get(name) is not None:
            origin = "flag"
        elif f"FEWTUNE_{name.upper()}" in os.environ:
            origin = "environment"
        elif name in in_file:
            origin = FILE_NAME
        found[name] = (getattr(settings, name), origin)
    return found
