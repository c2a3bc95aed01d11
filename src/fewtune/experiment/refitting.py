"""The winner once more, on all rows that judge nothing: one more trial of the sweep, and the model that is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fewtune.data.split import Fold
from fewtune.experiment.averaging import Verdict, average_verdict
from fewtune.experiment.finals import Pooled
from fewtune.experiment.measuring import PlanReading
from fewtune.experiment.progress import Stage
from fewtune.experiment.rounds import as_trial
from fewtune.experiment.searching import SearchPlan
from fewtune.experiment.sweep import Sweep
from fewtune.providers.contract import Trial
from fewtune.search.budget import Cut

REFIT = "refit-"
"""How its trials are named."""


@dataclass(frozen=True, kw_only=True)
class Refit:
    trial: Trial
    reading: PlanReading
    """Without a point: there are no rows to measure it on."""
    cut: tuple[Cut, ...]
    average: Verdict | None
    """None where nobody asked for it."""


def refit(sweep: Sweep, search: SearchPlan, winner: PlanReading, pooled: Sequence[Pooled]) -> Refit | None:
    """None where none is wanted; what the budget does not take is cut, and the winner stays what it is."""
    fold = search.afterwards.refit
    if fold is None:
        return None
    average = average_verdict(sweep, search, winner, pooled) if search.afterwards.averages else None
    trial = _trial(search, winner, fold, average.checkpoints if average else 1)
    if trial.id not in {one.id for one in sweep.store.trials(sweep.run_id) if one.state == "finished"}:
        text = f"Training the chosen plan once more, on all {len(fold.train)} rows that judge nothing"
        sweep.watch(Stage(name="train", text=text))
    # What a service has begun it bills to the end, so there an agreed epoch is one of all rows already.
    bills = sweep.provider.capabilities.bills
    cut = sweep.finish([(winner.candidate, trial)], {} if bills else {trial.id: search.afterwards.effort(fold)})
    return Refit(trial=trial, reading=_reading(sweep, winner, trial), cut=cut, average=average)


def _trial(search: SearchPlan, winner: PlanReading, fold: Fold, averaged: int) -> Trial:
    """Whoever has won names it: an extended sweep may choose another."""
    plan = search.afterwards.refit_plan(winner.plan)
    name = f"{REFIT}{winner.id}"
    if averaged > 1:
        name, plan = f"{name}-mean", replace(plan, averaged_checkpoints=min(averaged, plan.epochs))
    return as_trial(name, plan, search.space.seeds[0], fold.train, fold.judge)


def _reading(sweep: Sweep, winner: PlanReading, trial: Trial) -> PlanReading:
    record = next((one for one in sweep.store.trials(sweep.run_id) if one.id == trial.id), None)
    checkpoints = {one.epoch: one for one in sweep.store.checkpoints(sweep.run_id) if one.trial_id == trial.id}
    last = checkpoints.get(trial.plan.epochs) if record and record.state == "finished" else None
    return PlanReading(
        id=trial.id,
        trunk=trial.id,
        candidate=winner.candidate,
        plan=trial.plan,
        model=last.model if last else None,
        folder=last.folder if last else None,
        failure=record.failure if record else None,
        point=None,
    )
