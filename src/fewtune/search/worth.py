"""Whether tuning is worth it at all, by rows that chose nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from fewtune.statistics import Difference, paired_difference

Answer = Literal["tune", "do not tune", "cannot be told"]


@dataclass(frozen=True, kw_only=True)
class Worth:
    answer: Answer
    rival: str
    """The hardest one to beat: base or few-shot prompt."""
    gain: Difference
    """The rival's score minus the tuned model's: what tuning brings."""


def worth(tuned: Sequence[float], rivals: Mapping[str, Sequence[float]], *, level: float = 0.95) -> Worth:
    """Compare the nested row scores of the winner (`Estimate.rows`) with each rival's on the same rows.

    To be worth it the tuned model has to beat every rival beyond noise. Raises ValueError without a rival.
    """
    if not rivals:
        raise ValueError("there is no rival to compare with")
    gains = {name: paired_difference(rows, tuned, level=level) for name, rows in rivals.items()}
    rival = min(gains, key=lambda name: (_surely(gains[name]), gains[name].value, name))
    gain = gains[rival]
    if gain.interval is None:
        return Worth(answer="cannot be told", rival=rival, gain=gain)
    return Worth(answer="tune" if gain.interval.low > 0 else "do not tune", rival=rival, gain=gain)


def _surely(gain: Difference) -> float:
    return gain.interval.low if gain.interval else float("-inf")
