"""What a job's `fewtune.sweep` may say: a few options of `fewtune sweep`, none of which names a file or an address."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

from fewtune.service.worker.job import JobError

KEY = "fewtune.sweep"
"""Of a job's metadata."""
_VALUES = (
    "epochs",
    "batch-size",
    "learning-rate",
    "rank",
    "prompt-loss-weight",
    "adapt-top",
    "seeds",
    "searcher",
    "trials",
    "rung-share",
    "folds",
    "score",
    "gradient-accumulation",
    "valid",
    "task",
    "budget-minutes",
)
_SWITCHES = ("halving", "no-halving", "median-stop", "refit", "no-refit", "more-data")
OPTIONS = (*_VALUES, *_SWITCHES)
_VALUE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.,_+ -]{0,99}")
_USUAL_MINUTES = "60"
"""A job that asks for a sweep agrees to more than the ten minutes that need no agreement."""


def sweep_arguments(asked: str) -> list[str]:
    """Arguments of the command, from `true`, JSON, or `key=value` pairs. Raises JobError for anything else."""
    options = {name.replace("_", "-"): value for name, value in _read(asked).items()}
    unknown = sorted(set(options) - set(OPTIONS))
    if unknown:
        raise _refused(f"There is no sweep option {unknown[0][:40]!r}. There are: {', '.join(OPTIONS)}.")
    return [*_arguments(options), *([] if "budget-minutes" in options else [f"--budget-minutes={_USUAL_MINUTES}"])]


def _arguments(options: Mapping[str, Any]) -> Iterator[str]:
    for name, value in options.items():
        text = ",".join(map(str, cast(list[Any], value))) if isinstance(value, list) else str(value)
        if name in _SWITCHES:
            if text.lower() not in ("true", "1", ""):
                raise _refused(f"The sweep option {name!r} is given as true, or left out.")
            yield f"--{name}"
        elif _VALUE.fullmatch(text):
            yield f"--{name}={text}"
        else:
            raise _refused(f"The value of the sweep option {name!r} cannot be read.")


def _read(asked: str) -> Mapping[str, Any]:
    text = asked.strip()
    if text.lower() in ("true", "1", ""):
        return {}
    if text.startswith("{"):
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            raise _refused("Its value is not valid JSON.") from None
        return cast(Mapping[str, Any], found)
    pairs = [pair.partition("=") for pair in re.split(r"[;\s]+", text) if pair]
    return {name: value for name, _, value in pairs}


def _refused(text: str) -> JobError:
    return JobError("invalid_sweep", text, "metadata")
