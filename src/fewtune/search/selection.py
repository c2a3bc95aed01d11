"""Which trial won the sweep, and which others cannot be told from it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fewtune.errors import TrainingError
from fewtune.statistics import grouped_error

Rows = Sequence[float] | None


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What a sweep has decided, by the candidates' names."""

    best: str
    """Lowest mean score."""
    chosen: str
    """The one to use: the cheapest among the best and those tied with it."""
    tied: tuple[str, ...]
    """Those within one standard error of the best, without the chosen one, by rising score."""


def select(
    losses: Mapping[str, Rows],
    means: Mapping[str, float],
    cost: Mapping[str, float],
    *,
    ranks: Mapping[str, int] | None = None,
    groups: Sequence[int] | None = None,
) -> Selection:
    """Choose by the one-standard-error rule.

    `losses` are the scores of the validation rows in one order for all candidates, lower is better, None where a
    provider does not tell them; `means` their means, `cost` the tokens that training the plan takes, and `ranks`
    its adapter's rank. `groups` names, for each row, the fold that it was judged in. A candidate whose mean is
    not finite takes no part. One is tied if its mean lies no more than one standard error of the paired
    difference above the best one's; one row has no error, so all are tied there, and where there are no row
    scores nothing is claimed but between equal means. Among the tied the lowest cost wins, then the smallest
    rank, then the lowest mean: Breiman et al., Classification and Regression Trees (1984), section 3.4.3, with
    the error of the difference in place of that of the mean.

    Raises TrainingError where no candidate has a finite loss.
    """
    ranks = ranks or {}
    known = [name for name in means if math.isfinite(means[name])]
    if not known:
        raise TrainingError("No training reached a finite validation loss.", fix="Try learning rates ten times lower.")

    def price(name: str) -> tuple[float, int]:
        return cost[name], ranks.get(name, 0)

    ranked = sorted(known, key=lambda name: (means[name], price(name), name))
    best = ranked[0]
    near = [
        best,
        *(name for name in ranked[1:] if _is_tied(means[name] - means[best], losses[name], losses[best], groups)),
    ]
    chosen = min(near, key=lambda name: (price(name), means[name], name))
    return Selection(best=best, chosen=chosen, tied=tuple(name for name in near if name != chosen))


@dataclass(frozen=True, kw_only=True)
class Scores:
    """One measure of all candidates, lower is better."""

    rows: Mapping[str, Rows]
    """As `losses` of `select`."""
    means: Mapping[str, float]


def select_by(
    measures: Sequence[Scores],
    cost: Mapping[str, float],
    *,
    ranks: Mapping[str, int] | None = None,
    groups: Sequence[int] | None = None,
) -> Selection:
    """`select` by the first measure, then among the best and those tied with it by the next one, and so on.

    So a coarse measure, as the share of right answers is, leaves to a finer one what it cannot tell.
    """
    first, *others = measures
    selection = select(first.rows, first.means, cost, ranks=ranks, groups=groups)
    for measure in others:
        names = (selection.chosen, *selection.tied)
        rows, means = {name: measure.rows[name] for name in names}, {name: measure.means[name] for name in names}
        selection = select(rows, means, cost, ranks=ranks, groups=groups)
    return selection


def _is_tied(above: float, rows: Rows, best: Rows, groups: Sequence[int] | None) -> bool:
    if above == 0:
        return True
    if rows is None or best is None:
        return False
    error = grouped_error([a - b for a, b in zip(rows, best, strict=True)], groups)
    return error is None or above <= error
