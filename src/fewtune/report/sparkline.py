"""A curve as one line of text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

_BARS = "▁▂▃▄▅▆▇█"

Points = Sequence[tuple[float, float]]


def sparkline(points: Points, longest: float, low: float, high: float, width: int) -> str:
    """Means of neighbouring points (x, y), each as high as it stands between `low` and `high`.

    `width` characters are as long as `longest` on the x axis, so that a curve that is not at its end is shorter. A gap
    takes the value before it; what is no number is left out.
    """
    bins: list[list[float]] = [[] for _ in range(width)]
    for x, y in points:
        if math.isfinite(y):
            bins[min(width - 1, max(0, math.ceil(x / longest * width) - 1))].append(y)
    last = max((place for place, held in enumerate(bins) if held), default=-1)
    shown = ""
    for held in bins[: last + 1]:
        shown += _bar(sum(held) / len(held), low, high) if held else shown[-1:] or " "
    return shown


def _bar(value: float, low: float, high: float) -> str:
    share = (value - low) / (high - low) if high > low else 0.0
    return _BARS[min(len(_BARS) - 1, max(0, int(share * len(_BARS))))]


def loss_range(curves: Iterable[Points]) -> tuple[float, float]:
    """Lowest and highest loss, without the highest tenth, which the first steps hold; (0, 1) where there is none."""
    losses = sorted(loss for curve in curves for _, loss in curve if math.isfinite(loss))
    if not losses:
        return 0.0, 1.0
    return losses[0], losses[math.ceil(0.9 * len(losses)) - 1]
