"""Which trial won the sweep, and which others cannot be told from it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fewtune.errors import TrainingError
from fewtune.statistics import paired_difference


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What a sweep has decided, by the candidates' names."""

    best: str
    """Lowest mean validation loss."""
    chosen: str
    """The one to use: today always the best."""
    tied: tuple[str, ...]
    """Those not shown to be worse than the best, without it, by rising loss."""


def select(
    losses: Mapping[str, Sequence[float] | None], means: Mapping[str, float], cost: Mapping[str, float]
) -> Selection:
    """Choose by validation loss.

    `losses` are the losses of the validation rows in one order for all candidates, None where a provider does
    not tell them; `means` their validation losses, `cost` whatever makes one dearer than another (only exactly
    equal losses are told apart by it). A candidate whose mean is not finite takes no part. One is tied unless
    the 95 % interval of its paired difference to the best lies above 0; where rows are too few for an interval
    it is tied, and where there are no row losses nothing is claimed. The intervals are not corrected for the
    number of candidates, and the best one's own loss is optimistic because it was chosen by it.

    Raises TrainingError where no candidate has a finite loss.
    """
    ranked = sorted((name for name in means if math.isfinite(means[name])), key=lambda name: (means[name], cost[name]))
    if not ranked:
        raise TrainingError("No training reached a finite validation loss.", fix="Try learning rates ten times lower.")
    best = ranked[0]
    tied = tuple(name for name in ranked[1:] if _is_tied(losses[name], losses[best]))
    return Selection(best=best, chosen=best, tied=tied)


def _is_tied(rows: Sequence[float] | None, best: Sequence[float] | None) -> bool:
    if rows is None or best is None:
        return False
    interval = paired_difference(rows, best).interval
    return interval is None or interval.low <= 0
