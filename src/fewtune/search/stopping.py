"""When a training that is under way need not go on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, median, stdev

from fewtune.search.reading import Reading

MEDIAN_NEEDS = 4
"""Other curves that must have come as far before their median says anything."""
RISEN = 2.0
"""Standard errors above its best at which a curve has turned beyond doubt."""


def has_turned(readings: Sequence[Reading], patience: int | None) -> bool:
    """Whether the last `patience` readings, at least one, all failed to improve on the best one before them.

    One is enough where it lies so far above the best one that chance does not explain it, by the paired difference
    of the rows' scores. Without patience no curve ever has.
    """
    if patience is None:
        return False
    if patience < 1:
        raise ValueError(f"a patience is at least 1, not {patience}")
    if _has_risen(readings):
        return True
    if len(readings) <= patience:
        return False
    best = min(one.standing for one in readings[:-patience])
    return all(not one.standing < best for one in readings[-patience:])


def _has_risen(readings: Sequence[Reading]) -> bool:
    if len(readings) < 2:
        return False
    best, last = min(readings[:-1], key=lambda one: one.standing).rows, readings[-1].rows
    if not best or not last or len(last) < 2:
        return False
    differences = [now - before for now, before in zip(last, best, strict=True)]
    if not all(map(math.isfinite, differences)):
        return False
    return fmean(differences) > RISEN * stdev(differences) / math.sqrt(len(differences)) > 0


def until_turned(readings: Sequence[Reading], patience: int | None) -> Sequence[Reading]:
    """The curve up to the first reading at which it had turned: what was trained beyond that does not count.

    So a decision does not depend on how soon a training that is to stop does stop.
    """
    ends = range(2, len(readings))
    return next((readings[:end] for end in ends if has_turned(readings[:end], patience)), readings)


def is_above_median(candidate: int, curves: Mapping[int, Sequence[Reading]], epochs: int) -> bool:
    """The median rule: stop who at its best is worse than half of the others were on the way.

    A candidate's lowest score up to these epochs is compared with the median of the others' mean scores up to there
    (Golovin et al., Google Vizier, KDD 2017, section 3.2.2). Those that have not come as far say nothing, and fewer
    than MEDIAN_NEEDS of them neither.
    """
    own = [one.score for one in curves[candidate] if one.epochs <= epochs]
    means = [_mean_up_to(other, epochs) for name, other in curves.items() if name != candidate]
    known = [mean for mean in means if mean is not None]
    return len(known) >= MEDIAN_NEEDS and bool(own) and min(own) > median(known)


def _mean_up_to(readings: Sequence[Reading], epochs: int) -> float | None:
    """None for a curve that ended before."""
    if not readings or readings[-1].epochs < epochs:
        return None
    scores = [one.score for one in readings if one.epochs <= epochs]
    return fmean(scores) if all(map(math.isfinite, scores)) else math.inf
