"""Which plan of a search is kept, which are tied with it, and what it will score on rows that did not choose it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from fewtune.experiment.finals import Pooled
from fewtune.experiment.measuring import PlanReading, Score, wrong_rows, wrong_share
from fewtune.search.nested import Estimate, by_folds, by_resampling
from fewtune.search.selection import Rows, Scores, Selection, select_by


@dataclass(frozen=True, kw_only=True)
class Choice:
    selection: Selection
    estimate: Estimate | None
    """None where too few rows were scored, or none by itself."""
    by: str | None
    """`folds` or `resampling`: how the estimate was made."""
    groups: tuple[int, ...] | None = None
    """The fold of each row that chose; None where it is the rungs' validation rows alone."""


def choose(readings: Sequence[PlanReading], pooled: Sequence[Pooled], seed: int, score: Score = "loss") -> Choice:
    """By the finalists' folds and seeds where they were trained on these, else by the rungs' validation rows."""
    known = {one.id: one for one in readings if one.model and one.point and one.point.valid_loss is not None}
    entered = {f"t{one.finalist.candidate}-e{one.finalist.epochs}": one for one in pooled}
    if entered and set(entered) <= set(known):
        return _by_pooled({name: known[name] for name in entered}, entered, seed, score)
    measures = _measures(known, score)
    cost, ranks = _costs(known.values()), {name: one.plan.rank for name, one in known.items()}
    selection = select_by(measures, cost, ranks=ranks)
    tables = _tables(measures)
    estimate = None
    if selection.chosen in tables[0]:
        estimate = by_resampling(tables[0], cost, ranks=ranks, then=_second(tables), seed=seed)
    return Choice(selection=selection, estimate=estimate, by="resampling" if estimate else None)


def _by_pooled(known: dict[str, PlanReading], entered: dict[str, Pooled], seed: int, score: Score) -> Choice:
    losses: Mapping[str, Rows] = {name: one.rows for name, one in entered.items()}
    wrong: Mapping[str, Rows] = {name: one.wrong for name, one in entered.items()}
    exact = score == "exact_match" and None not in wrong.values()
    measures = [
        Scores(rows=rows, means={name: fmean(found or ()) for name, found in rows.items()})
        for rows in ((wrong, losses) if exact else (losses,))
    ]
    groups = next(iter(entered.values())).groups
    cost, ranks = _costs(known.values()), {name: one.plan.rank for name, one in known.items()}
    selection = select_by(measures, cost, ranks=ranks, groups=groups)
    first, then = (tables := _tables(measures))[0], _second(tables)
    if len(set(groups)) > 1:
        estimate, by = by_folds(first, cost, groups, ranks=ranks, then=then, chose=(0,)), "folds"
    else:
        estimate, by = by_resampling(first, cost, ranks=ranks, then=then, seed=seed), "resampling"
    return Choice(selection=selection, estimate=estimate, by=by if estimate else None, groups=groups)


def _measures(known: Mapping[str, PlanReading], score: Score) -> list[Scores]:
    """The loss, and before it the share of rows that were not answered exactly where that is what chooses."""
    points = {name: one.point for name, one in known.items() if one.point}
    losses = Scores(
        rows={name: point.valid_row_losses for name, point in points.items()},
        means={name: math.inf if point.valid_loss is None else point.valid_loss for name, point in points.items()},
    )
    if score == "loss":
        return [losses]
    wrong = Scores(
        rows={name: wrong_rows(point) for name, point in points.items()},
        means={name: wrong_share(point) for name, point in points.items()},
    )
    return [wrong, losses]


def _tables(measures: Sequence[Scores]) -> list[dict[str, Sequence[float]]]:
    """The row scores of those that have finite ones in every measure."""
    names = [
        name
        for name in measures[0].rows
        if all((rows := one.rows[name]) and all(map(math.isfinite, rows)) for one in measures)
    ]
    return [{name: one.rows[name] or () for name in names} for one in measures]


def _second(tables: Sequence[Mapping[str, Sequence[float]]]) -> Mapping[str, Sequence[float]] | None:
    return tables[1] if tables[1:] else None


def _costs(readings: Iterable[PlanReading]) -> dict[str, float]:
    return {one.id: float(one.point.tokens) for one in readings if one.point}
