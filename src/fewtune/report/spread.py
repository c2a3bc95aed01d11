"""Labels beside the ends of lines, moved apart."""

from __future__ import annotations

from itertools import pairwise


def spread(heights: list[float], gap: float) -> list[float]:
    """Labels' heights, moved apart so that no two are nearer than `gap`; their order stays."""
    order = sorted(range(len(heights)), key=lambda index: heights[index])
    placed = list(heights)
    for below, above in pairwise(order):
        placed[above] = max(placed[above], placed[below] + gap)
    shift = sum(placed[index] - heights[index] for index in order) / max(len(order), 1)
    return [height - shift for height in placed]
