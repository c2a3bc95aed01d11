"""Metrics as they are given from Python: by the names that `--metric` takes, or as functions."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path

Given = str | Callable[[str, str], float]


def named_metrics(given: Sequence[Given]) -> dict[str, Given | None]:
    """What each is called in the run's settings, and the function, where one was given.

    The name finds the function again in another process, unless it is a notebook's or a lambda.
    """
    return {one if isinstance(one, str) else _name(one): None if isinstance(one, str) else one for one in given}


def _name(function: Callable[[str, str], float]) -> str:
    name = getattr(function, "__qualname__", type(function).__qualname__)
    module = getattr(function, "__module__", None) or type(function).__module__
    if module != "__main__":
        return f"{module}:{name}"
    path = inspect.getsourcefile(function) if inspect.isfunction(function) else None
    return f"{path}:{name}" if path and Path(path).is_file() and path.endswith(".py") else f"__main__:{name}"
