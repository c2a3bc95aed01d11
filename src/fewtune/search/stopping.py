"""When a training that is under way need not go on."""

from __future__ import annotations

from collections.abc import Sequence

from fewtune.search.reading import Reading


def has_turned(readings: Sequence[Reading], patience: int) -> bool:
    """Whether the last `patience` readings, at least one, all failed to improve on the best one before them."""
    if patience < 1:
        raise ValueError(f"a patience is at least 1, not {patience}")
    if len(readings) <= patience:
        return False
    best = min(one.standing for one in readings[:-patience])
    return all(not one.standing < best for one in readings[-patience:])


def until_turned(readings: Sequence[Reading], patience: int) -> Sequence[Reading]:
    """The curve up to the first reading at which it had turned: what was trained beyond that does not count.

    So a decision does not depend on how soon a training that is to stop does stop.
    """
    ends = range(patience + 1, len(readings))
    return next((readings[:end] for end in ends if has_turned(readings[:end], patience)), readings)
