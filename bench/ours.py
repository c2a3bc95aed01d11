"""fewtune's trainer as a contender; runs in a child process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch.profiler import ProfilerActivity, profile

from bench.child import cores
from bench.device import CUDA, WARM_UP_STEPS, Clock, forget_peak, held_bytes, peak_bytes
from bench.job import Job
from bench.rows import encoded_rows
from fewtune.data.encode import Encoded
from fewtune.engine.base_model import BaseModel, load
from fewtune.engine.memory import forecast, place, work
from fewtune.engine.trainer import train
from fewtune.engine.training import Task, Training, begin

_WARM_UP_ROWS = 2
_PROFILED_STEPS = 5
_RECORDING_STEPS = 40 if CUDA else WARM_UP_STEPS
"""On CUDA a pass of each size is computed once and recorded when it comes again; this is told apart."""


def together(job: Mapping[str, Any]) -> dict[str, Any]:
    """All trials at once."""
    return _measure(Job(**job), at_once=True)


def one_after_another(job: Mapping[str, Any]) -> dict[str, Any]:
    """The same trials, each alone on the machine."""
    return _measure(Job(**job), at_once=False)


def _measure(job: Job, at_once: bool) -> dict[str, Any]:
    forget_peak()
    base, rows = load(job.base, precision=job.precision), encoded_rows(job.data, job.base)
    clock = Clock()
    if job.warm_up:
        _warm_up(base, job, rows)
    warm_up_seconds = clock.read()["seconds"]
    trainings = _trainings(base, job, rows)
    groups = [trainings] if at_once else [{name: training} for name, training in trainings.items()]
    clock = Clock()
    losses = [_train(base, group, job.steps) for group in groups]
    took = clock.read()
    memory = {"peak_device_bytes": peak_bytes(), "held_device_bytes": held_bytes()} if CUDA else {}
    told = {"forecast_bytes": _forecast(job, rows), "warm_up_seconds": warm_up_seconds} if CUDA else {}
    return {"tokens": job.tokens(rows), **took, "loss": losses[0]["trial 0"], **memory, **told}


def _forecast(job: Job, rows: tuple[Encoded, ...]) -> int:
    """What `fewtune doctor` would say of the job."""
    plans = [job.plan(trial, job.rows(trial, rows)) for trial in range(job.trials)]
    return forecast(place(job.base, precision=job.precision), work(plans, [len(row.ids) for row in rows])).total


def profiled(job: Mapping[str, Any]) -> dict[str, str]:
    """What the steps of all trials spend the device's time on, as a table."""
    asked = Job(**job)
    base, rows = load(asked.base, precision=asked.precision), encoded_rows(asked.data, asked.base)
    _warm_up(base, asked, rows)
    trainings, clock = _trainings(base, asked, rows), Clock()
    with profile(activities=[ProfilerActivity.CUDA if CUDA else ProfilerActivity.CPU]) as seen:
        _train(base, trainings, _PROFILED_STEPS)
    found = seen.key_averages()
    told = found.table(sort_by="self_device_time_total", row_limit=30, max_name_column_width=90)
    wall, events = clock.read()["seconds"] / _PROFILED_STEPS, sum(one.count for one in found) / _PROFILED_STEPS
    return {"profile": f"{told}\n{_PROFILED_STEPS} steps of {wall * 1e3:.1f} ms, each of {events:.0f} events"}


def _warm_up(base: BaseModel, job: Job, rows: tuple[Encoded, ...]) -> None:
    """A step of throw-away trials, two rows each at most, on all cores: first calls allocate and import."""
    trials = max(job.trials, cores()) if base.on_cpu else job.trials
    small = replace(job, trials=trials, batch_size=min(job.batch_size, _WARM_UP_ROWS), steps=_RECORDING_STEPS)
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
