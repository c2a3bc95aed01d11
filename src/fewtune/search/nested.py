"""What the winner will score on rows that did not choose it: a winner's own score is a lucky one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fewtune.search.selection import select
from fewtune.statistics import Interval, mean_interval

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

RESAMPLES = 400
FEWEST_ROWS = 5
"""With fewer, leaving some of them out leaves nothing to choose with."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """The score of whatever the selection would choose, on rows that took no part in choosing."""

    value: float
    interval: Interval | None
    rows: tuple[float, ...]
    """By row, to be paired with what a rival scores on the same rows."""
    positions: tuple[int, ...]
    """Where each of them stands among the rows that were given."""
    optimism: float
    """How much better the winner's own mean over these rows looks; about 0 where it won clearly."""


def by_resampling(
    losses: Mapping[str, Sequence[float]],
    cost: Mapping[str, float],
    *,
    ranks: Mapping[str, int] | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Estimate | None:
    """Choose with a bootstrap sample of the rows, score on the rows that are not in it, many times over.

    For a sweep with one split. The bootstrap bias correction of Tsamardinos, Greasidou and Borboudakis, Machine
    Learning 107 (2018), with the one-standard-error rule as the choice; nothing is trained again. A row's value is
    its mean over the samples without it. It errs on the pessimistic side, since a sample holds 63 % of the rows.
    None below five rows.
    """
    ranks = ranks or {}
    names = sorted(losses, key=lambda name: (cost[name], ranks.get(name, 0), name))
    table = np.asarray([losses[name] for name in names], dtype=np.float64)
    rows = table.shape[1]
    if rows < FEWEST_ROWS:
        return None
    generator = np.random.default_rng(seed)
    sums, counts = np.zeros(rows), np.zeros(rows)
    for _ in range(resamples):
        drawn = _resample(generator, rows)
        left_out = np.flatnonzero(np.bincount(drawn, minlength=rows) == 0)
        sums[left_out] += table[_cheapest(table[:, drawn]), left_out]
        counts[left_out] += 1
    seen = np.flatnonzero(counts)
    return _estimate(sums[seen] / counts[seen], seen, table[_cheapest(table)])


def _resample(generator: np.random.Generator, rows: int) -> Counts:
    return generator.integers(rows, size=rows, dtype=np.int64)


def _cheapest(table: Floats) -> int:
    """The one-standard-error rule on a table whose lines are sorted by rising cost."""
    means = table.mean(axis=1)
    differences = table - table[means.argmin()]
    errors = differences.std(axis=1, ddof=1) / np.sqrt(table.shape[1])
    return int((means - means.min() <= errors).argmax())


def by_folds(
    losses: Mapping[str, Sequence[float]],
    cost: Mapping[str, float],
    groups: Sequence[int],
    *,
    ranks: Mapping[str, int] | None = None,
    chose: Sequence[int] = (),
) -> Estimate | None:
    """Choose with all folds but one, score on that one, for each in turn: Stone, JRSS B 36 (1974).

    `groups` names each row's fold. Folds in `chose` have already decided which candidates are here, so they help
    to choose but score nothing. None with fewer than two folds, or where none is left to score.
    """
    folds = np.asarray(groups)
    scoring = [fold for fold in sorted(set(groups)) if fold not in chose]
    if len(set(groups)) < 2 or not scoring:
        return None
    table = {name: np.asarray(values, dtype=np.float64) for name, values in losses.items()}
    scores = np.full(len(folds), np.nan)
    for fold in scoring:
        chosen = _select(table, cost, ranks, folds, folds != fold)
        scores[folds == fold] = table[chosen][folds == fold]
    scored = np.flatnonzero(np.isin(folds, scoring))
    return _estimate(scores[scored], scored, table[_select(table, cost, ranks, folds, folds >= 0)])


def _select(
    table: Mapping[str, Floats],
    cost: Mapping[str, float],
    ranks: Mapping[str, int] | None,
    folds: Counts,
    rows: npt.NDArray[np.bool_],
) -> str:
    kept = {name: [float(value) for value in values[rows]] for name, values in table.items()}
    means = {name: sum(values) / len(values) for name, values in kept.items()}
    return select(kept, means, cost, ranks=ranks, groups=[int(fold) for fold in folds[rows]]).chosen


def _estimate(values: Floats, positions: Counts, winner: Floats) -> Estimate:
    rows = tuple(float(value) for value in values)
    return Estimate(
        value=float(values.mean()),
        interval=mean_interval(rows),
        rows=rows,
        positions=tuple(int(place) for place in positions),
        optimism=float(values.mean() - winner[positions].mean()),
    )
