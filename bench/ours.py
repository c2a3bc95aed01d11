"""fewtune's trainer as a contender; runs in a child process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bench.child import cores
from bench.device import Clock
from bench.job import Job
from bench.rows import encoded_rows
from fewtune.data.encode import Encoded
from fewtune.engine.base_model import BaseModel, load
from fewtune.engine.trainer import train
from fewtune.engine.training import Task, Training, begin

_WARM_UP_ROWS = 2


def together(job: Mapping[str, Any]) -> dict[str, Any]:
    """All trials at once."""
    return _measure(Job(**job), at_once=True)


def one_after_another(job: Mapping[str, Any]) -> dict[str, Any]:
    """The same trials, each alone on the machine."""
    return _measure(Job(**job), at_once=False)


def _measure(job: Job, at_once: bool) -> dict[str, Any]:
    base, rows = load(job.base), encoded_rows(job.data, job.base)
    if job.warm_up:
        _warm_up(base, job, rows)
    trainings = _trainings(base, job, rows)
    groups = [trainings] if at_once else [{name: training} for name, training in trainings.items()]
    clock = Clock()
    losses = [_train(base, group, job.steps) for group in groups]
    took = clock.read()
    return {"tokens": job.tokens(rows), **took, "loss": losses[0]["trial 0"]}


def _warm_up(base: BaseModel, job: Job, rows: tuple[Encoded, ...]) -> None:
    """A step of throw-away trials, two rows each at most, on all cores: first calls allocate and import."""
    trials, rows_a_step = max(job.trials, cores()), min(job.batch_size, _WARM_UP_ROWS)
    small = replace(job, trials=trials, batch_size=rows_a_step, steps=1)
    _train(base, _trainings(base, small, rows), small.steps)


def _trainings(base: BaseModel, job: Job, rows: tuple[Encoded, ...]) -> dict[str, Training]:
    return {f"trial {trial}": begin(base, _task(job, trial, rows)) for trial in range(job.trials)}


def _task(job: Job, trial: int, rows: tuple[Encoded, ...]) -> Task:
    own = job.rows(trial, rows)
    return Task(plan=job.plan(trial, own), seed=job.seed + trial, train=own, valid=())


def _train(base: BaseModel, trainings: Mapping[str, Training], steps: int) -> dict[str, float]:
    """Bring all to the step; the last loss of each."""
    losses: dict[str, float] = {}
    for progress in train(base, trainings, dict.fromkeys(trainings, steps)):
        if isinstance(progress, tuple):
            raise progress[1]
        losses[progress.name] = progress.loss
    return losses
