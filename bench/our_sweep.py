"""`fewtune.sweep` as a contender; runs in a child process."""

from __future__ import annotations

import os
import resource
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import psutil

# Imported before the clock starts, with all that they import.
import fewtune
import fewtune.experiment.run
import fewtune.providers.local
import fewtune.search.tpe
from bench.grid import BASE, BATCH_SIZES, EPOCHS, LEARNING_RATES
from fewtune.experiment.progress import Progress, Stage, Training

_MINUTES = 24 * 60
"""Whatever it takes: the clock is what is measured."""


def sweep(job: Mapping[str, Any]) -> dict[str, Any]:
    """The whole sweep, from the file to the report; `folds` None leaves them to the sweep."""
    seen = _Seen()
    with tempfile.TemporaryDirectory() as home:
        os.environ["FEWTUNE_HOME"] = home
        cpu = _cpu_seconds()
        seen.started = time.perf_counter()
        done = fewtune.sweep(
            job["data"],
            base=BASE,
            epochs=EPOCHS,
            batch_size=BATCH_SIZES,
            learning_rate=LEARNING_RATES,
            folds=job["folds"],
            budget_minutes=_MINUTES,
            watch=seen,
        )
        seconds, cpu_seconds = seen.now(), _cpu_seconds() - cpu
        return {
            "seconds": seconds,
            "cpu_seconds": cpu_seconds,
            "curve": seen.curve,
            "stages": seen.stages,
            "epochs": done.summary.saved_against_grid and done.summary.saved_against_grid.epochs,
            "chosen": done.best.id,
            "chosen_plan": dict(done.best.plan),
            "chosen_loss": done.best.valid_loss,
            "lowest_loss": min(one.valid_loss for one in done.summary.trials if one.valid_loss is not None),
        }


@dataclass(kw_only=True)
class _Seen:
    """Keeps when each validation of a candidate was told; those of folds are of other rows."""

    started: float = 0.0
    curve: list[tuple[str, float, float, float]] = field(default_factory=list[tuple[str, float, float, float]])
    """Trial, epochs done, seconds, validation loss."""
    stages: list[tuple[str, float]] = field(default_factory=list[tuple[str, float]])
    last: dict[str, float] = field(default_factory=dict[str, float])

    def __call__(self, event: Progress) -> None:
        if isinstance(event, Stage):
            self.stages.append((event.name, self.now()))
        if isinstance(event, Training) and "-" not in event.trial and event.valid_loss is not None:
            if self.last.get(event.trial) != event.valid_loss:
                self.curve.append((event.trial, event.epoch, self.now(), event.valid_loss))
            self.last[event.trial] = event.valid_loss

    def now(self) -> float:
        return time.perf_counter() - self.started


def _cpu_seconds() -> float:
    """Of this process and its children, those that have ended too."""
    living = [child.cpu_times() for child in psutil.Process().children(recursive=True)]
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime + sum(one.user + one.system for one in living)
