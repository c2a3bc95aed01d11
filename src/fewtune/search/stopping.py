"""When a training that is under way need not go on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, median

from fewtune.search.reading import Reading

MEDIAN_NEEDS = 4
"""Curves that must have come as far before their median says anything."""


def has_turned(readings: Sequence[Reading], patience: int) -> bool:
    """Whether the last `patience` readings, at least one, all failed to improve on the best one before them."""
    if patience < 1:
        raise ValueError(f"a patience is at least 1, not {patience}")
    if len(readings) <= patience:
        return False
    best = min(one.score for one in readings[:-patience])
    return all(not one.score < best for one in readings[-patience:])


def until_turned(readings: Sequence[Reading], patience: int) -> Sequence[Reading]:
    """The curve up to the first reading at which it had turned: what was trained beyond that does not count.

    So a decision does not depend on how soon a training that is to stop does stop.
    """
    ends = range(patience + 1, len(readings))
    return next((readings[:end] for end in ends if has_turned(readings[:end], patience)), readings)


def is_below_median(candidate: int, curves: Mapping[int, Sequence[Reading]]) -> bool:
    """The median rule, for searches without rungs: stop what is worse than half of the others were by then.

    The candidate's best score so far is compared with the median of the others' mean scores up to the same epochs:
    Golovin et al., Google Vizier, KDD 2017, section 3.2.2. Says nothing until four others have come as far.
    """
    own = curves[candidate]
    if not own:
        return False
    epochs = own[-1].epochs
    means = [_mean_up_to(other, epochs) for name, other in curves.items() if name != candidate]
    known = [mean for mean in means if mean is not None]
    return len(known) >= MEDIAN_NEEDS and min(one.score for one in own) > median(known)


def _mean_up_to(readings: Sequence[Reading], epochs: int) -> float | None:
    scores = [one.score for one in readings if one.epochs <= epochs]
    if not readings or readings[-1].epochs < epochs or not scores:
        return None
    return fmean(scores) if all(map(math.isfinite, scores)) else math.inf
