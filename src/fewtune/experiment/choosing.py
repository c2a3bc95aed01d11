"""Which plan of a search is kept, which are tied with it, and what it will score on rows that did not choose it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from fewtune.experiment.finals import Pooled
from fewtune.experiment.measuring import PlanReading
from fewtune.search.nested import Estimate, by_folds, by_resampling
from fewtune.search.selection import Selection, select


@dataclass(frozen=True, kw_only=True)
class Choice:
    selection: Selection
    estimate: Estimate | None
    """None where too few rows were scored, or none by itself."""
    by: str | None
    """`folds` or `resampling`: how the estimate was made."""


def choose(readings: Sequence[PlanReading], pooled: Sequence[Pooled], seed: int) -> Choice:
    """By the finalists' folds and seeds where they were trained on these, else by the rungs' validation rows."""
    known = {one.id: one for one in readings if one.model and one.point and one.point.valid_loss is not None}
    entered = {f"t{one.finalist.candidate}-e{one.finalist.epochs}": one for one in pooled}
    if entered and set(entered) <= set(known):
        return _by_pooled({name: known[name] for name in entered}, entered, seed)
    losses = {name: one.point.valid_row_losses for name, one in known.items() if one.point}
    means = {
        name: one.point.valid_loss for name, one in known.items() if one.point and one.point.valid_loss is not None
    }
    cost, ranks = _costs(known.values()), {name: one.plan.rank for name, one in known.items()}
    selection = select(losses, means, cost, ranks=ranks)
    scored = {name: rows for name, rows in losses.items() if rows and all(map(math.isfinite, rows))}
    estimate = by_resampling(scored, cost, ranks=ranks, seed=seed) if selection.chosen in scored else None
    return Choice(selection=selection, estimate=estimate, by="resampling" if estimate else None)


def _by_pooled(known: dict[str, PlanReading], entered: dict[str, Pooled], seed: int) -> Choice:
    losses = {name: one.rows for name, one in entered.items()}
    groups = next(iter(entered.values())).groups
    cost, ranks = _costs(known.values()), {name: one.plan.rank for name, one in known.items()}
    means = {name: fmean(rows) for name, rows in losses.items()}
    selection = select(losses, means, cost, ranks=ranks, groups=groups)
    if len(set(groups)) > 1:
        return Choice(selection=selection, estimate=by_folds(losses, cost, groups, ranks=ranks, chose=(0,)), by="folds")
    estimate = by_resampling(losses, cost, ranks=ranks, seed=seed)
    return Choice(selection=selection, estimate=estimate, by="resampling" if estimate else None)


def _costs(readings: Iterable[PlanReading]) -> dict[str, float]:
    return {one.id: float(one.point.tokens) for one in readings if one.point}
