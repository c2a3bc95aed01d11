"""Where settings come from: flags over environment over fewtune.toml over defaults; secrets are masked.

The environment's names are FEWTUNE_HOME, FEWTUNE_BASE, FEWTUNE_PROVIDER and FEWTUNE_SEED.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import platformdirs
from pydantic import Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from fewtune.errors import UsageError

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
    seed: int = 0
    """Seed of split, order, initial weights and sampling."""

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
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise UsageError(
            f"The setting {name!r} cannot be used: {first['msg']}.",
            where=f"flags, FEWTUNE_{name.upper()} or {FILE_NAME}",
            fix="See: fewtune config.",
        ) from error


def origins(**flags: Any) -> dict[str, tuple[Any, str]]:
    """Each setting with its value and where it came from: `flag`, `environment`, the file's name, or `default`."""
    import os

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
