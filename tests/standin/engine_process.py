"""Another process that trains with the engine, saving after every step, and dies where it is told to."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from fewtune.engine import checkpoint, trainer
from fewtune.engine.base_model import load
from fewtune.engine.training import Task, Training
from fewtune.engine.workers import Workers


@dataclass(frozen=True, kw_only=True)
class Death:
    """The call that does not come to its end."""

    place: str
    """A name in `_PLACES`."""
    call: int
    """From 1."""
    after: bool = False
    """Whether the call is still made."""


_PLACES: dict[str, tuple[Any, str]] = {
    "a piece of a batch is given to a worker": (Workers, "submit"),
    "the optimizer": (trainer, "adamw"),
    "an epoch's end": (Training, "end_epoch"),
    "a step is to be saved": (checkpoint, "save_training"),
    "the files are written": (checkpoint, "_seal"),
    "a file is synced": (os, "fsync"),
    "the folder is named": (os, "rename"),
    "an old point is removed": (checkpoint.shutil, "rmtree"),
}
PLACES = tuple(_PLACES)


def _arrange(death: Death) -> None:
    holder, name = _PLACES[death.place]
    bare: Callable[..., Any] = getattr(holder, name)
    calls = 0

    def deadly(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == death.call:
            if death.after:
                bare(*arguments, **named)
            os.kill(os.getpid(), signal.SIGKILL)
        return bare(*arguments, **named)

    setattr(holder, name, deadly)


def train(base_folder: Path, tasks: dict[str, Task], folder: Path, told: Connection, death: Death | None) -> None:
    """Train all tasks from where they were saved to their ends, telling each step, and save the adapters."""
    base = load(str(base_folder))
    trainings = {name: checkpoint.open_training(base, task, folder / name) for name, task in tasks.items()}
    if death:
        _arrange(death)
    for event in trainer.train(base, trainings, {name: task.steps for name, task in tasks.items()}):
        assert isinstance(event, trainer.Progress)
        checkpoint.save_training(trainings[event.name], folder / event.name)
        told.send((event.name, event.step))
    for name, training in trainings.items():
        checkpoint.save_adapter(training.result, folder / name / "adapter", base)
