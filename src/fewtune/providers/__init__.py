"""Somewhere that trains and samples: by name, imported only when it is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from fewtune.errors import UsageError
from fewtune.providers.contract import Provider, Workspace


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What must be known of a provider before it is connected."""

    factory: str
    local_base: bool
    """The base is a model folder on this machine, so its tokenizer and width are at hand."""
    bills: bool = False
    """Training costs money, so it needs a budget in dollars."""
    pauses: bool = True
    """As `Capabilities.can_pause`."""
    elsewhere: bool = False
    """It trains on machines that have an `address`, so what fits into this one says nothing of them; what they leave
    in the run's folder is as `local` leaves it, and is used without them."""
    extra: str | None = None
    """The optional dependencies that it needs, as pip knows them, ..."""
    packages: tuple[str, ...] = ()
    """... and as Python imports them."""
    access: str | None = None
    """A function that raises ProviderError where the user may not use it; called before anything is read."""


KINDS = {
    "local": Kind(
        factory="fewtune.providers.local:LocalProvider",
        local_base=True,
        extra="local",
        packages=("torch", "transformers"),
    ),
    "ray": Kind(
        factory="fewtune.providers.ray_cluster:RayProvider",
        local_base=True,
        elsewhere=True,
        extra="ray",
        packages=("ray", "torch", "transformers"),
    ),
    "openai": Kind(
        factory="fewtune.providers.openai_compatible:OpenAIProvider",
        local_base=False,
        bills=True,
        pauses=False,
        extra="hosted",
        packages=("openai",),
        access="fewtune.providers.openai_compatible:check_access",
    ),
    "fake": Kind(factory="fewtune.providers.fake:FakeProvider", local_base=False),
}


def kind(name: str) -> Kind:
    """Raises UsageError, naming those that exist, for a name that does not."""
    if name not in KINDS:
        raise UsageError(f"There is no provider {name!r}.", fix=f"Choose one of: {', '.join(KINDS)}.")
    return KINDS[name]


def check_access(name: str) -> None:
    """Raises UsageError where a package is missing, ProviderError where a key is; nothing heavy is imported."""
    found = kind(name)
    missing = next((package for package in found.packages if find_spec(package) is None), None)
    if missing:
        raise UsageError(
            f"The package {missing!r}, which --provider {name} needs, is not installed.",
            fix=f"Install it with: pip install 'fewtune[{found.extra}]'.",
        )
    if found.access:
        _load(found.access)()


def connect(name: str, workspace: Workspace) -> Provider:
    """Open the provider of that name on a workspace."""
    return _load(kind(name).factory)(workspace)


def _load(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)
