"""How much each hyperparameter had to do with the scores: main effects, and no more than that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

ENOUGH_TRIALS = 20
_BINS = 3
"""A parameter with more values than this is cut into so many parts of equal size."""


@dataclass(frozen=True, kw_only=True)
class Importance:
    shares: Mapping[str, float]
    """Of the scores' variance, by parameter, the largest first; they need not add up to 1, nor be told apart."""
    trials: int

    @property
    def caveat(self) -> str | None:
        if self.trials >= ENOUGH_TRIALS:
            return None
        return f"From {self.trials} trials only: an order of importance needs {ENOUGH_TRIALS} and more."


def importance(values: Mapping[str, Sequence[float]], scores: Sequence[float]) -> Importance:
    """The share of the variance that lies between a parameter's values, less what chance would put there.

    `values` holds each parameter's value in every trial, in the order of `scores`, all finite. The share is epsilon
    squared of a one-way analysis of variance (Kelley, PNAS 21, 1935), so a parameter without effect gets about 0. What
    two parameters do only together is not seen.
    """
    shares = {name: _share(_parts(column), scores) for name, column in values.items() if len(set(column)) > 1}
    ordered = sorted(shares, key=lambda name: (-shares[name], name))
    return Importance(shares={name: shares[name] for name in ordered}, trials=len(scores))


def _parts(column: Sequence[float]) -> list[int]:
    levels = sorted(set(column))
    if len(levels) <= _BINS:
        return [levels.index(value) for value in column]
    borders = [float(np.quantile(column, part / _BINS)) for part in range(1, _BINS)]
    return [sum(value > border for border in borders) for value in column]


def _share(parts: Sequence[int], scores: Sequence[float]) -> float:
    mean = fmean(scores)
    total = sum((score - mean) ** 2 for score in scores)
    groups = [[score for score, part in zip(scores, parts, strict=True) if part == one] for one in set(parts)]
    freedom = len(scores) - len(groups)
    if freedom < 1 or total == 0:
        return 0.0
    within = sum((score - fmean(group)) ** 2 for group in groups for score in group)
    return max(0.0, 1 - within / freedom * (len(scores) - 1) / total)
