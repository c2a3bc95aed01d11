"""Whether tuning helped: values with intervals, paired comparisons, and one sentence that says it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from fewtune.errors import DataError
from fewtune.statistics import (
    Interval,
    mean_interval,
    paired_difference,
    paired_share_interval,
    sign_test,
    wilson_interval,
)

Verdict = Literal["better", "worse", "tied", "cannot be told"]

_SEVERITY: tuple[Verdict, ...] = ("worse", "cannot be told", "tied", "better")
"""The verdict on a model is that of its hardest rival."""
_ALPHA = 0.05


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One system's mean in one metric."""

    value: float
    interval: Interval | None
    n: int


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Tuned minus the other system in one metric, on the same rows."""

    value: float
    interval: Interval | None
    """At the border of binary metrics it may exclude 0 where the exact test, which gives the verdict, does not."""
    verdict: Verdict
    n: int


def summarise(values: Sequence[float], *, binary: bool) -> Measured:
    """Mean and 95 % interval over rows: Wilson's for 0/1 values, the bootstrap-t for others.

    Raises DataError where there is no row, ValueError for a binary value that is neither 0 nor 1.
    """
    if not values:
        raise DataError("No row was measured.", fix="Leave rows for the test part.")
    n = len(values)
    interval = wilson_interval(_ones(values), n) if binary else mean_interval(values)
    return Measured(value=sum(values) / n, interval=interval, n=n)


def compare(tuned: Sequence[float], other: Sequence[float], *, higher_is_better: bool, binary: bool) -> Compared:
    """Compare two systems row by row; the rows stand in the same order in both.

    A difference inside the noise is `tied`: for 0/1 values where the exact sign test has p of 0.05 or more,
    else where the bootstrap-t interval holds 0. One row, or rows that give no interval, is `cannot be told`,
    unless no row differs at all: then it is `tied`. Raises ValueError for rows that cannot be paired.
    """
    difference = paired_difference(tuned, other)
    value, n = difference.value, difference.n
    if binary:
        return _compare_binary(tuned, other, value, higher_is_better)
    verdict: Verdict
    if n < 2:
        verdict = "cannot be told"
    elif difference.interval is None:
        verdict = "tied" if list(tuned) == list(other) else "cannot be told"
    else:
        verdict = _direction(value, higher_is_better) if difference.interval.excludes(0) else "tied"
    return Compared(value=value, interval=difference.interval, verdict=verdict, n=n)


def verdict_sentence(against: Mapping[str, Compared], *, metric: str, higher_is_better: bool) -> str:
    """One sentence for the top of the report: whether to use the tuned model.

    `against` holds the comparisons of the tuned model in the task's primary metric (`metrics.PRIMARY`) by the
    rival's name: `base`, and `few-shot` where a prompt with worked examples could be built. To be worth using,
    the model has to beat every rival beyond noise; the sentence names the hardest one.
    """
    if not against:
        return "Cannot be told: there was nothing to compare the tuned model with."
    sign = 1 if higher_is_better else -1
    name, hardest = min(against.items(), key=lambda item: (_SEVERITY.index(item[1].verdict), sign * item[1].value))
    rows = f"{hardest.n} held-out row{'' if hardest.n == 1 else 's'}"
    if hardest.verdict == "cannot be told":
        return f"Cannot be told: {_reason(hardest.n, rows)}."
    rival, word = _RIVALS.get(name, name), metric.replace("_", " ")
    if hardest.verdict == "tied":
        return f"Do not tune: on {rows} the tuned model's {word} cannot be told from {rival}'s ({_span(hardest)})."
    advice = "Use the tuned model" if hardest.verdict == "better" else "Do not use the tuned model"
    return f"{advice}: on {rows} its {word} is {_amount(hardest)} than {rival}'s{_interval_words(hardest)}."


_RIVALS = {"base": "the untuned base", "few-shot": "the few-shot prompt"}


def _compare_binary(tuned: Sequence[float], other: Sequence[float], value: float, higher_is_better: bool) -> Compared:
    n, both = len(tuned), sum(1 for a, b in zip(tuned, other, strict=True) if a == b == 1)
    wins, losses = _ones(tuned) - both, _ones(other) - both
    verdict: Verdict = "tied"
    if n < 2:
        verdict = "cannot be told"
    elif sign_test(wins, losses) < _ALPHA:
        verdict = _direction(value, higher_is_better)
    return Compared(value=value, interval=paired_share_interval(wins, losses, n), verdict=verdict, n=n)


def _direction(value: float, higher_is_better: bool) -> Verdict:
    return "better" if (value > 0) == higher_is_better else "worse"


def _ones(values: Sequence[float]) -> int:
    if any(value not in (0, 1) for value in values):
        raise ValueError("a binary metric has a value that is neither 0 nor 1")
    return sum(1 for value in values if value == 1)


def _reason(n: int, rows: str) -> str:
    if n == 1:
        return "one held-out row"
    return f"only {rows}" if n < 4 else f"{rows} give no interval"


def _amount(compared: Compared) -> str:
    size = abs(compared.value)
    return f"{size:z.{_decimals(size)}f} {'higher' if compared.value > 0 else 'lower'}"


def _interval_words(compared: Compared) -> str:
    """The interval of the amount: without its sign, which `higher` or `lower` already says."""
    if compared.interval is None:
        return ""
    sign = 1 if compared.value > 0 else -1
    low, high = sorted((sign * compared.interval.low, sign * compared.interval.high))
    return f" (95 % interval {_between(low, high, abs(compared.value))})"


def _span(compared: Compared) -> str:
    if compared.interval is None:
        return "no row differs"
    size = max(abs(compared.interval.low), abs(compared.interval.high))
    between = _between(compared.interval.low, compared.interval.high, size)
    return f"difference {compared.value:z.{_decimals(size)}f}, 95 % interval {between}"


def _between(low: float, high: float, size: float) -> str:
    decimals = _decimals(size)
    return f"{low:z.{decimals}f} to {high:z.{decimals}f}"


def _decimals(size: float) -> int:
    """Digits after the point that show two significant digits of a number of that size."""
    return max(0, 1 - math.floor(math.log10(size))) if size > 0 else 0
