"""What the store knows of a search's trials, as readings that it decides by and as plans to choose from."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from fewtune.search.reading import Reading
from fewtune.store.runs import CheckpointRecord, PointRecord, Runs, TrialRecord
from fewtune.types import Plan

Record = TypeVar("Record", PointRecord, CheckpointRecord)


@dataclass(frozen=True, kw_only=True)
class PlanReading:
    """One plan, as its candidate's training stood when the plan's last epoch was done."""

    id: str
    trunk: str
    candidate: int
    plan: Plan
    model: str | None
    """Name to sample from; None where the trial failed before, or the service kept no checkpoint."""
    folder: str | None
    failure: str | None
    point: PointRecord | None

    @property
    def state(self) -> str:
        if self.model:
            return "finished"
        return "failed" if self.failure else "unfinished"


def trial_name(candidate: int) -> str:
    return f"t{candidate}"


def screening_name(candidate: int) -> str:
    """The trial that compares a candidate with the others on a share of the rows."""
    return f"{trial_name(candidate)}-part"


def is_screening(trial: str) -> bool:
    return trial.endswith("-part")


def measured(store: Runs, run_id: str, candidates: Mapping[int, Plan], share: float = 1.0) -> tuple[Reading, ...]:
    """Every validation of every candidate at the end of an epoch; a failure is one that is not finite.

    Those on a share of the rows, where candidates were compared on one, are among them.
    """
    trials = {record.id: record for record in store.trials(run_id)}
    points, checkpoints = _by_trial(store.points(run_id)), _by_trial(store.checkpoints(run_id))
    found: list[Reading] = []
    for number in candidates:
        for name, part in ((screening_name(number), share), (trial_name(number), 1.0)):
            curve = [
                _reading(number, one.epoch, point, part)
                for one in checkpoints.get(name, ())
                if (point := _validated(points.get(name, ()), one)) is not None
            ]
            found += (*curve, *_failure(number, trials.get(name), curve, part))
    return tuple(found)


def _failure(candidate: int, record: TrialRecord | None, curve: Sequence[Reading], share: float) -> Iterable[Reading]:
    """One that is not finite, for a trial that failed or ended without having been measured."""
    reached = max((one.epochs for one in curve), default=0)
    if record and (record.state == "failed" or (record.state == "finished" and reached < record.plan["epochs"])):
        epochs = min(reached + 1, int(record.plan["epochs"]))
        yield Reading(candidate=candidate, epochs=epochs, score=math.inf, share=share)


def plan_readings(
    store: Runs, run_id: str, candidates: Mapping[int, Plan], epochs: Collection[int], counted: Iterable[Reading]
) -> tuple[PlanReading, ...]:
    """The plans to choose from that were measured, and those that failed; not those that nobody trained to.

    A candidate that was never trained on all rows is told by its shortest plan.
    """
    failures = {trial.id: trial.failure for trial in store.trials(run_id)}
    points = _by_trial(store.points(run_id))
    checkpoints = {(one.trial_id, one.epoch): one for one in store.checkpoints(run_id)}
    told = {(one.candidate, one.epochs) for one in counted}
    found: list[PlanReading] = []
    for number, plan in candidates.items():
        name = trial_name(number)
        failure = failures.get(name) or failures.get(screening_name(number))
        screened_out = screening_name(number) in failures and name not in points
        for length in sorted(epochs)[: 1 if screened_out else None]:
            checkpoint = checkpoints.get((name, length))
            if (number, length) not in told and not failure and not screened_out:
                continue
            found.append(
                PlanReading(
                    id=f"{name}-e{length}",
                    trunk=name,
                    candidate=number,
                    plan=replace(plan, epochs=length),
                    model=checkpoint.model if checkpoint else None,
                    folder=checkpoint.folder if checkpoint else None,
                    failure=failure,
                    point=_validated(points.get(name, ()), checkpoint) if checkpoint else None,
                )
            )
    return tuple(found)


def rows_at(store: Runs, run_id: str, trial: str, epochs: int) -> tuple[float, ...] | None:
    """The row losses of a trial when so many epochs were done."""
    points = [point for point in store.points(run_id) if point.trial_id == trial]
    for checkpoint in store.checkpoints(run_id):
        if checkpoint.trial_id == trial and checkpoint.epoch == epochs:
            point = _validated(points, checkpoint)
            return tuple(point.valid_row_losses) if point and point.valid_row_losses else None
    return None


def _reading(candidate: int, epochs: int, point: PointRecord, share: float) -> Reading:
    score = math.inf if point.valid_loss is None else point.valid_loss
    rows = tuple(point.valid_row_losses) if point.valid_row_losses else None
    return Reading(candidate=candidate, epochs=epochs, score=score, rows=rows, share=share)


def _by_trial(records: Iterable[Record]) -> dict[str, list[Record]]:
    grouped: dict[str, list[Record]] = {}
    for record in records:
        grouped.setdefault(record.trial_id, []).append(record)
    return grouped


def _validated(points: Iterable[PointRecord], checkpoint: CheckpointRecord) -> PointRecord | None:
    """The last measured validation up to the checkpoint; a service may measure a step or two before it.

    A loss that is not finite is stored as none, but with its rows.
    """
    before = (one for one in points if one.step <= checkpoint.step)
    return max(
        (one for one in before if one.valid_loss is not None or one.valid_row_losses),
        key=lambda p: p.step,
        default=None,
    )
