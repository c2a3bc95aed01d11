"""How good one answer is: small functions of the answer and the expected text, in one registry."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, cast

from sacrebleu.metrics.chrf import CHRF

from fewtune.errors import UsageError

Task = Literal["text", "labels", "json"]
TASKS: tuple[Task, ...] = ("text", "labels", "json")

PRIMARY: dict[Task, str] = {"text": "loss", "labels": "exact_match", "json": "exact_match"}
"""The metric that decides the verdict. `loss` comes from the provider's scores, not from this registry."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A measure of one row; a system's value is the mean over rows."""

    name: str
    unit: str
    higher_is_better: bool
    binary: bool
    """Every row is 0 or 1, so the mean is a share."""
    tasks: tuple[Task, ...]
    measure: Callable[[str, str], float]
    """(answer, expected) -> value."""


_CHRF = CHRF()


def chrf(answer: str, expected: str) -> float:
    """Character n-gram F-score, 0 to 100, with sacrebleu's settings (n to 6, beta 2).

    Popović, chrF: character n-gram F-score for automatic MT evaluation, WMT 2015. Whitespace does not count.
    """
    return float(_CHRF.sentence_score(answer, [expected]).score)


def exact_match(answer: str, expected: str) -> float:
    """1 where the texts are equal but for white space at their ends; case counts."""
    return float(answer.strip() == expected.strip())


def json_match(answer: str, expected: str) -> float:
    """1 where both are the same JSON value: the order of keys and the layout do not count, `1` equals `1.0`.

    An expected text that is not JSON can only be matched as text.
    """
    wanted = _parsed(expected)
    if wanted is _INVALID:
        return exact_match(answer, expected)
    return float(_same(_parsed(answer), wanted))


def valid_json(answer: str, expected: str) -> float:
    """1 where the answer is one JSON value by RFC 8259, which knows no NaN; the expected text plays no part."""
    return float(_parsed(answer) is not _INVALID)


METRICS: tuple[Metric, ...] = (
    Metric(name="chrf", unit="points", higher_is_better=True, binary=False, tasks=("text",), measure=chrf),
    Metric(
        name="exact_match",
        unit="share",
        higher_is_better=True,
        binary=True,
        tasks=("text", "labels"),
        measure=exact_match,
    ),
    Metric(name="exact_match", unit="share", higher_is_better=True, binary=True, tasks=("json",), measure=json_match),
    Metric(name="valid_json", unit="share", higher_is_better=True, binary=True, tasks=("json",), measure=valid_json),
)
"""One name may stand for several tasks, but only once for each."""


def for_task(task: str) -> tuple[Metric, ...]:
    """The metrics of a task, in the order in which they are shown."""
    if task not in TASKS:
        raise UsageError(f"There is no task {task!r}.", fix=f"Choose one of: {', '.join(TASKS)}.")
    return tuple(metric for metric in METRICS if task in metric.tasks)


_INVALID = object()


def _parsed(text: str) -> object:
    """The JSON value with every number as a Decimal, so that none loses digits; _INVALID for anything else."""
    try:
        return json.loads(text, parse_int=Decimal, parse_float=Decimal, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return _INVALID


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _same(first: object, second: object) -> bool:
    if type(first) is not type(second):  # also keeps true apart from 1
        return False
    if isinstance(first, dict):
        left, right = cast("dict[str, object]", first), cast("dict[str, object]", second)
        return left.keys() == right.keys() and all(_same(left[key], right[key]) for key in left)
    if isinstance(first, list):
        items, others = cast("list[object]", first), cast("list[object]", second)
        return len(items) == len(others) and all(map(_same, items, others))
    return first == second
