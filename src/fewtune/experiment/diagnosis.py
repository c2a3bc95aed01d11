"""What this machine has to train with."""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from fewtune import settings
from fewtune.bases.folder import BUILT_IN, locate
from fewtune.errors import FewtuneError
from fewtune.store.runs import Runs


@dataclass(frozen=True)
class Check:
    name: str
    ok: bool
    told: str


def diagnose() -> tuple[Check, ...]:
    """Every part that a run on this machine needs, in the order in which it would be missed."""
    return (
        Check("Python", True, f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        Check("cores", True, str(os.cpu_count())),
        _home(),
        _package("torch", "trains and samples here", "pip install 'fewtune[local]'"),
        _package("transformers", "knows the bases' architectures", "pip install 'fewtune[local]'"),
        _device(),
        _base(),
        _package("openai", "talks to hosted services", "pip install 'fewtune[hosted]'"),
        Check("OPENAI_API_KEY", "OPENAI_API_KEY" in os.environ, _key()),
    )


def _home() -> Check:
    """Whether the state file opens, which is what every command needs."""
    home = settings.load().home
    try:
        Runs(home)
    except FewtuneError as error:
        return Check("state folder", False, str(error))
    return Check("state folder", True, f"{home}, {shutil.disk_usage(home).free / 2**30:.1f} GiB free")


def _package(name: str, purpose: str, fix: str) -> Check:
    try:
        return Check(name, True, f"{version(name)}, {purpose}")
    except PackageNotFoundError:
        return Check(name, False, f"{purpose}; get it with: {fix}")


def _device() -> Check:
    try:
        from fewtune.engine.devices import name as device_name
    except ImportError:
        return Check("device", False, "none without torch")
    return Check("device", True, device_name())


def _base() -> Check:
    try:
        size = sum(path.stat().st_size for path in Path(locate(BUILT_IN)).iterdir()) / 2**20
        return Check("built-in base", True, f"{BUILT_IN}, {size:.0f} MiB")
    except (FewtuneError, OSError) as error:
        return Check("built-in base", False, str(error))


def _key() -> str:
    return "set" if "OPENAI_API_KEY" in os.environ else "not set; only --provider openai needs it"
