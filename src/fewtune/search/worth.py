"""Whether tuning is worth it at all, by rows that chose nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from fewtune.statistics import (
    Difference,
    Interval,
    grouped_error,
    paired_difference,
    paired_share_interval,
    sign_test,
    standard_error,
)

Answer = Literal["tune", "do not tune", "cannot be told"]
_SEVERITY: tuple[Answer, ...] = ("do not tune", "cannot be told", "tune")


@dataclass(frozen=True, kw_only=True)
class Worth:
    answer: Answer
    rival: str
    """The one that the answer turns on: the hardest to beat."""
    gains: Mapping[str, Difference]
    """By rival: its score minus the tuned model's, which is what tuning brings."""


def worth(
    tuned: Sequence[float],
    rivals: Mapping[str, Sequence[float]],
    *,
    groups: Sequence[int] | None = None,
    binary: bool = False,
    level: float = 0.95,
) -> Worth:
    """Compare what the selection would choose without a row (`Estimate.rows`) with each rival on the same rows.

    Scores are lower-is-better; with `binary` each is 1, where the row went wrong, or 0. `groups` names the fold of
    each row: where the folds differ by more than their rows explain, the interval is wider in that proportion
    (`grouped_error`). To be worth it the tuned model has to beat every rival beyond noise, so no rival's interval
    needs a correction for their number: a claim that all of several tests must support is no easier for there being
    more of them (Berger, Technometrics 24, 1982). Raises ValueError without a rival.
    """
    if not rivals:
        raise ValueError("there is no rival to compare with")
    gains = {name: _gain(rows, tuned, groups, binary, level) for name, rows in rivals.items()}
    answers: dict[str, Answer] = {
        name: _answer(gain, rivals[name], tuned, binary, level) for name, gain in gains.items()
    }
    rival = min(gains, key=lambda name: (_SEVERITY.index(answers[name]), _surely(gains[name]), name))
    return Worth(answer=answers[rival], rival=rival, gains=gains)


def _gain(
    rival: Sequence[float], tuned: Sequence[float], groups: Sequence[int] | None, binary: bool, level: float
) -> Difference:
    gain = paired_difference(rival, tuned, level=level)
    differences = [a - b for a, b in zip(rival, tuned, strict=True)]
    interval = paired_share_interval(*_disagreements(rival, tuned), gain.n, level=level) if binary else gain.interval
    return replace(gain, interval=interval and _widened(interval, gain.value, differences, groups))


def _widened(interval: Interval, value: float, differences: Sequence[float], groups: Sequence[int] | None) -> Interval:
    alone, together = standard_error(differences), grouped_error(differences, groups)
    factor = together / alone if alone and together else 1.0
    return replace(interval, low=value - factor * (value - interval.low), high=value + factor * (interval.high - value))


def _answer(gain: Difference, rival: Sequence[float], tuned: Sequence[float], binary: bool, level: float) -> Answer:
    if gain.interval is None:
        return "do not tune" if gain.n > 1 and list(rival) == list(tuned) else "cannot be told"
    if binary and sign_test(*_disagreements(rival, tuned)) >= 1 - level:
        return "do not tune"
    return "tune" if gain.interval.low > 0 else "do not tune"


def _disagreements(rival: Sequence[float], tuned: Sequence[float]) -> tuple[int, int]:
    """Rows that only the rival got wrong, and rows that only the tuned model did."""
    pairs = list(zip(rival, tuned, strict=True))
    return sum(a > b for a, b in pairs), sum(a < b for a, b in pairs)


def _surely(gain: Difference) -> float:
    return gain.interval.low if gain.interval else gain.value
