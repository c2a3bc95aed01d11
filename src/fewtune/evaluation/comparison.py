"""Whether tuning helped: values with intervals, paired comparisons, and one sentence that says it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from fewtune.errors import DataError
from fewtune.statistics import (
    Interval,
    holm,
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
_LARGEST = 700.0
"""Beyond e to this power there are no numbers."""


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
    """Of this comparison alone. It may exclude 0 where the test that gives the verdict, which is exact for binary
    metrics and is corrected for the number of rivals, does not."""
    verdict: Verdict
    n: int
    p: float | None = None
    """Two-sided p of that test; None where there is none."""


def summarise(values: Sequence[float], *, binary: bool) -> Measured:
    """Mean and 95 % interval over rows: Wilson's for 0/1 values, the bootstrap-t for others.

    Raises DataError where there is no row, ValueError for a binary value that is neither 0 nor 1.
    """
    if not values:
        raise DataError("No row was measured.", fix="Leave rows for the test part.")
    n = len(values)
    interval = wilson_interval(_ones(values), n) if binary else mean_interval(values)
    return Measured(value=sum(values) / n, interval=interval, n=n)


def raised(measured: Measured) -> Measured:
    """e to the power of a mean of logarithms, and of the ends of its interval."""
    interval = measured.interval and Interval(low=_exp(measured.interval.low), high=_exp(measured.interval.high))
    return replace(measured, value=_exp(measured.value), interval=interval)


def bounded(interval: Interval | None, low: float, high: float) -> Interval | None:
    """The part of it that is possible: a studentised interval does not know that a share ends at 0 and 1."""
    return interval and Interval(low=max(interval.low, low), high=min(interval.high, high))


def _exp(value: float) -> float:
    """Bounded, since a document cannot say infinity."""
    return math.exp(min(value, _LARGEST))


def compare(tuned: Sequence[float], other: Sequence[float], *, higher_is_better: bool, binary: bool) -> Compared:
    """Compare two systems row by row; the rows stand in the same order in both.

    A difference inside the noise is `tied`: where p is 0.05 or more, by the exact sign test for 0/1 values, else by
    the bootstrap-t, whose interval then holds 0. One row, or rows that give no interval, is `cannot be told`, unless
    no row differs at all: then it is `tied`. Raises ValueError for rows that cannot be paired.
    """
    difference = paired_difference(tuned, other)
    interval, p, n = difference.interval, difference.p, difference.n
    if binary:
        wins, losses = _disagreements(tuned, other)
        interval, p = paired_share_interval(wins, losses, n), sign_test(wins, losses) if n > 1 else None
    same = n > 1 and list(tuned) == list(other)
    verdict = "tied" if p is None and same else _verdict(p, difference.value, higher_is_better)
    return Compared(value=difference.value, interval=interval, verdict=verdict, n=n, p=p)


def corrected(against: Mapping[str, Compared], *, higher_is_better: bool) -> dict[str, Compared]:
    """The comparisons of one metric with several rivals, p and verdict corrected for their number by Holm's method."""
    told = {name: one.p for name, one in against.items() if one.p is not None}
    ps = dict(zip(told, holm(list(told.values())), strict=True))
    return {
        name: replace(one, p=ps[name], verdict=_verdict(ps[name], one.value, higher_is_better)) if name in ps else one
        for name, one in against.items()
    }


def _verdict(p: float | None, value: float, higher_is_better: bool) -> Verdict:
    if p is None:
        return "cannot be told"
    if p >= _ALPHA:
        return "tied"
    return "better" if (value > 0) == higher_is_better else "worse"


def _disagreements(tuned: Sequence[float], other: Sequence[float]) -> tuple[int, int]:
    """Rows that only the first, and only the second, has right."""
    both = sum(1 for a, b in zip(tuned, other, strict=True) if a == b == 1)
    return _ones(tuned) - both, _ones(other) - both


def verdict_sentence(
    against: Mapping[str, Compared], *, metric: str, higher_is_better: bool, share: bool = False
) -> str:
    """One sentence for the top of the report: whether to use the tuned model.

    `against` holds the comparisons of the tuned model in the metric that decides, by the rival's name. To be worth
    using, the model has to beat every rival beyond noise; the sentence names the hardest one. `metric` stands in it as
    it is; differences of a `share` are told in points, as hundredths are called wherever shares are shown.
    """
    if not against:
        return "Cannot be told: there was nothing to compare the tuned model with."
    sign = 1 if higher_is_better else -1
    name, hardest = min(against.items(), key=lambda item: (_SEVERITY.index(item[1].verdict), sign * item[1].value))
    rows = f"{hardest.n} held-out row{'' if hardest.n == 1 else 's'}"
    if hardest.verdict == "cannot be told":
        return f"Cannot be told: {_reason(hardest.n, rows)}."
    rival = SPOKEN.get(name, name)
    if hardest.verdict == "tied":
        told = f"the tuned model's {metric} cannot be told from {rival}'s"
        return f"Do not tune: on {rows} {told} ({_span(hardest, share)})."
    advice = "Use the tuned model" if hardest.verdict == "better" else "Do not use the tuned model"
    amount = f"{_amount(hardest, share)} than {rival}'s{_interval_words(hardest, share)}"
    return f"{advice}: on {rows} its {metric} is {amount}."


SPOKEN = {
    "base": "the untuned base",
    "few-shot": "the few-shot prompt",
    "few-shot-nearest": "the nearest few-shot prompt",
    "majority": "the most frequent answer",
    "nearest-answer": "the nearest row",
    "tf-idf": "the TF-IDF classifier",
    "sentence-encoder": "the sentence-encoder classifier",
}
"""Rivals as a sentence names them."""


def _ones(values: Sequence[float]) -> int:
    if any(value not in (0, 1) for value in values):
        raise ValueError("a binary metric has a value that is neither 0 nor 1")
    return sum(1 for value in values if value == 1)


def _reason(n: int, rows: str) -> str:
    if n == 1:
        return "one held-out row"
    return f"only {rows}" if n < 4 else f"{rows} give no interval"


def _amount(compared: Compared, share: bool) -> str:
    size = abs(compared.value)
    return f"{_numbers(share, size, size=size)} {'higher' if compared.value > 0 else 'lower'}"


def _interval_words(compared: Compared, share: bool) -> str:
    """The interval of the amount: without its sign, which `higher` or `lower` already says."""
    if compared.interval is None:
        return ""
    sign = 1 if compared.value > 0 else -1
    low, high = sorted((sign * compared.interval.low, sign * compared.interval.high))
    return f" (95 % interval {_numbers(share, low, high, size=abs(compared.value))})"


def _span(compared: Compared, share: bool) -> str:
    if compared.interval is None:
        return "no row differs"
    low, high = compared.interval.low, compared.interval.high
    size = max(abs(low), abs(high))
    difference = _numbers(share, compared.value, size=size)
    return f"difference {difference}, 95 % interval {_numbers(share, low, high, size=size)}"


def _numbers(share: bool, *values: float, size: float) -> str:
    """`0.08 to 0.33`, or of shares `−37.7 to 2.0 points`; other numbers with two significant digits of `size`."""
    if share:
        return " to ".join(f"{100 * value:z.1f}" for value in values).replace("-", "−") + " points"
    decimals = _decimals(size)
    return " to ".join(f"{value:z.{decimals}f}" for value in values).replace("-", "−")


def _decimals(size: float) -> int:
    """Digits after the point that show two significant digits of a number of that size."""
    return max(0, 1 - math.floor(math.log10(size))) if size > 0 else 0
