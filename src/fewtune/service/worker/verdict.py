"""What tuning changed on the validation file, said as honestly as its rows allow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fewtune.providers.contract import Score
from fewtune.statistics import paired_difference


def verdict(before: Sequence[Score], after: Sequence[Score], *, started_from: str) -> tuple[str, dict[str, Any]]:
    """A sentence and its numbers, from the scores of the same rows; at least one. Losses are of rows, not of tokens."""
    first, second = _losses(before), _losses(after)
    difference = paired_difference(first, second)
    low_high = difference.interval and [difference.interval.low, difference.interval.high]
    data = {
        "rows": difference.n,
        "loss_before": sum(first) / len(first),
        "loss_after": sum(second) / len(second),
        "lowered_by": difference.value,
        "interval": low_high,
    }
    rows = f"{difference.n:,} validation row{'s' if difference.n > 1 else ''}"
    begin = f"On {rows} the loss is {data['loss_after']:.3f}, and {data['loss_before']:.3f} with {started_from}"
    if low_high is None:
        return f"{begin}; whether tuning lowered it cannot be told from so few rows or such alike ones.", data
    low, high = low_high
    told = f"lower by {difference.value:.3f} (95 % interval {low:.3f} to {high:.3f})"
    judged = "better" if low > 0 else "worse" if high < 0 else "not told apart"
    return f"{begin}: {told}; the tuned model is {judged}.", data


def _losses(scores: Sequence[Score]) -> list[float]:
    """Of each row its tokens' mean."""
    return [-sum(score.log_likelihoods) / len(score.log_likelihoods) for score in scores]
