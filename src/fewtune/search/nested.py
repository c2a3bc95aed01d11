"""What the winner will score on rows that did not choose it: a winner's own score is a lucky one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fewtune.search.selection import Scores, select_by
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
    choices: tuple[Mapping[str, float], ...]
    """Who was chosen without the row, by row: names with their share of the choices."""


def by_resampling(
    losses: Mapping[str, Sequence[float]],
    cost: Mapping[str, float],
    *,
    ranks: Mapping[str, int] | None = None,
    then: Mapping[str, Sequence[float]] | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Estimate | None:
    """Choose with a bootstrap sample of the rows, score on the rows that are not in it, many times over.

    For a sweep with one split. The bootstrap bias correction of Tsamardinos, Greasidou and Borboudakis, Machine
    Learning 107 (2018), with the one-standard-error rule as the choice; nothing is trained again. A row's value is
    its mean over the samples without it. It errs on the pessimistic side, since a sample holds 63 % of the rows.
    `then` holds what tells apart those who are tied by `losses`. None below five rows.
    """
    ranks = ranks or {}
    names = sorted(losses, key=lambda name: (cost[name], ranks.get(name, 0), name))
    tables = [np.asarray([one[name] for name in names], dtype=np.float64) for one in (losses, then) if one]
    table, rows = tables[0], tables[0].shape[1]
    if rows < FEWEST_ROWS:
        return None
    generator = np.random.default_rng(seed)
    counts = np.zeros(table.shape)
    for _ in range(resamples):
        drawn = _resample(generator, rows)
        left_out = np.bincount(drawn, minlength=rows) == 0
        counts[_cheapest([one[:, drawn] for one in tables]), left_out] += 1
    seen = np.flatnonzero(counts.any(axis=0))
    shares = counts[:, seen] / counts[:, seen].sum(axis=0)
    # Where nobody was chosen nothing counts, not even a score that is not finite.
    values = np.where(shares > 0, shares * table[:, seen], 0.0).sum(axis=0)
    choices = [{names[one]: float(row[one]) for one in np.flatnonzero(row)} for row in shares.T]
    return _estimate(values, seen, table[_cheapest(tables)], choices)


def _resample(generator: np.random.Generator, rows: int) -> Counts:
    return generator.integers(rows, size=rows, dtype=np.int64)


def _cheapest(tables: Sequence[Floats]) -> int:
    """The one-standard-error rule on tables whose lines are sorted by rising cost; each narrows the one before."""
    near = np.arange(len(tables[0]))
    for table in tables:
        left = table[near]
        means = left.mean(axis=1)
        differences = left - left[means.argmin()]
        errors = differences.std(axis=1, ddof=1) / np.sqrt(table.shape[1])
        near = near[means - means.min() <= errors]
    return int(near[0])


def by_folds(
    losses: Mapping[str, Sequence[float]],
    cost: Mapping[str, float],
    groups: Sequence[int],
    *,
    ranks: Mapping[str, int] | None = None,
    then: Mapping[str, Sequence[float]] | None = None,
    chose: Sequence[int] = (),
) -> Estimate | None:
    """Choose with all folds but one, score on that one, for each in turn: Stone, JRSS B 36 (1974).

    `groups` names each row's fold. Folds in `chose` have already decided which candidates are here, so they help
    to choose but score nothing. `then` is as in `by_resampling`. None with fewer than two folds, or where none is
    left to score.
    """
    folds = np.asarray(groups)
    scoring = [fold for fold in sorted(set(groups)) if fold not in chose]
    if len(set(groups)) < 2 or not scoring:
        return None
    tables = [
        {name: np.asarray(found, dtype=np.float64) for name, found in one.items()} for one in (losses, then) if one
    ]
    chosen = {fold: _select(tables, cost, ranks, folds, folds != fold) for fold in scoring}
    scored = np.flatnonzero(np.isin(folds, scoring))
    names = [chosen[int(fold)] for fold in folds[scored]]
    values = np.array([tables[0][name][place] for name, place in zip(names, scored, strict=True)])
    winner = tables[0][_select(tables, cost, ranks, folds, folds >= 0)]
    return _estimate(values, scored, winner, [{name: 1.0} for name in names])


def _select(
    tables: Sequence[Mapping[str, Floats]],
    cost: Mapping[str, float],
    ranks: Mapping[str, int] | None,
    folds: Counts,
    rows: npt.NDArray[np.bool_],
) -> str:
    measures: list[Scores] = []
    for table in tables:
        kept = {name: [float(value) for value in values[rows]] for name, values in table.items()}
        measures.append(Scores(rows=kept, means={name: sum(values) / len(values) for name, values in kept.items()}))
    return select_by(measures, cost, ranks=ranks, groups=[int(fold) for fold in folds[rows]]).chosen


def _estimate(values: Floats, positions: Counts, winner: Floats, choices: Sequence[Mapping[str, float]]) -> Estimate:
    rows = tuple(float(value) for value in values)
    return Estimate(
        value=float(values.mean()),
        interval=mean_interval(rows),
        rows=rows,
        positions=tuple(int(place) for place in positions),
        optimism=float(values.mean() - winner[positions].mean()),
        choices=tuple(choices),
    )
