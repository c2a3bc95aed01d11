"""Metrics that the user brings: a function of an answer and the expected text, with a few attributes."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar, cast

from fewtune.errors import UsageError
from fewtune.evaluation.metric import AnswerMetric, Compare, answer_metric

GROUP = "fewtune.metrics"
"""Entry points of installed packages; one is loaded only when its name is given."""
_FIX = "Write module:function, path/to/file.py:function, or the name of an entry point in the group fewtune.metrics."
_Function = TypeVar("_Function", bound=Callable[..., Any])


def metric(
    *,
    name: str | None = None,
    title: str | None = None,
    unit: str | None = None,
    meaning: str | None = None,
    higher_is_better: bool = True,
    binary: bool = False,
) -> Callable[[_Function], _Function]:
    """Say of a function (answer, expected) -> float what kind of metric it is; the function stays as it is.

    `binary` promises 0 or 1, which gets exact tests. `unit` is `share`, `points` or any word. What is not said is the
    function's name and the first line of its docstring.
    """
    told = {"name": name, "title": title, "unit": unit, "meaning": meaning}

    def declare(function: _Function) -> _Function:
        for key, value in {**told, "higher_is_better": higher_is_better, "binary": binary}.items():
            if value is not None:
                setattr(function, key, value)
        return function

    return declare


def own_metric(function: object, spec: str) -> AnswerMetric:
    """The metric of a function; `spec` is what the user named it by. Raises UsageError for what is no such function."""
    if not callable(function):
        raise UsageError(f"The metric {spec!r} is no function.", fix=_FIX)
    _check_arguments(function, spec)
    name = str(getattr(function, "name", None) or getattr(function, "__name__", None) or spec.rpartition(":")[2])
    binary = bool(getattr(function, "binary", False))
    described = (inspect.getdoc(function) or "").partition("\n")[0]
    return answer_metric(
        name,
        cast("Compare", function),
        title=str(getattr(function, "title", None) or name.replace("_", " ").capitalize()),
        unit=str(getattr(function, "unit", None) or ("share" if binary else "")),
        meaning=str(getattr(function, "meaning", None) or described or f"Your own metric, {spec}."),
        higher_is_better=bool(getattr(function, "higher_is_better", True)),
        binary=binary,
        own=True,
    )


def _check_arguments(function: Callable[..., Any], spec: str) -> None:
    try:
        inspect.signature(function).bind("answer", "expected")
    except TypeError as error:
        raise UsageError(
            f"The metric {spec!r} cannot be called with an answer and the expected text: {error}.",
            fix="Let it take two texts and give a number.",
        ) from error
    except ValueError:
        return  # Built-in functions may tell no signature; the first row will show.


def load(spec: str) -> object:
    """What `module:function`, `file.py:function` or the name of an entry point stands for.

    This runs code of the user's choice. Raises UsageError where there is no such thing.
    """
    place, colon, name = spec.rpartition(":")
    if not colon:
        return _entry_point(spec)
    module = _from_file(Path(place), spec) if place.endswith(".py") else _imported(place, spec)
    found: object = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if found is None:
        raise UsageError(f"There is no {name!r} in {place}.", where=f"--metric {spec}", fix=_FIX)
    return found


def _entry_point(name: str) -> object:
    known = entry_points(group=GROUP)
    if name not in known.names:
        listed = f" Installed: {', '.join(sorted(known.names))}." if known.names else ""
        raise UsageError(f"There is no metric {name!r}.", where=f"--metric {name}", fix=_FIX + listed)
    try:
        return known[name].load()
    except Exception as error:
        raise _broken(name, error) from error


def _imported(module: str, spec: str) -> ModuleType:
    try:
        return import_module(module)
    except Exception as error:
        raise _broken(spec, error) from error


def _from_file(path: Path, spec: str) -> ModuleType:
    if not path.is_file():
        raise UsageError(f"There is no file {path}.", where=f"--metric {spec}", fix="Check the path.")
    # Executed anew each time, under a name that takes nobody's place.
    name = f"_fewtune_metric_{path.stem}"
    found = importlib.util.spec_from_file_location(name, path)
    if found is None or found.loader is None:
        raise UsageError(f"{path} is no Python file.", where=f"--metric {spec}", fix=_FIX)
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module
    try:
        found.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise _broken(spec, error) from error
    return module


def _broken(spec: str, error: BaseException) -> UsageError:
    return UsageError(
        f"The metric could not be loaded: {type(error).__name__}: {error}.",
        where=f"--metric {spec}",
        fix="Mend it and run the same command again.",
    )
