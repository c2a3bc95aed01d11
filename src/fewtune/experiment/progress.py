"""What a run tells those who watch it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A new part of the run begins."""

    name: str
    """`prepare`, `load`, `train`, `evaluate` or `report`."""
    text: str


@dataclass(frozen=True, kw_only=True)
class Training:
    """One optimizer step of one trial."""

    trial: str
    label: str
    """What sets the trial apart, as in `rate 0.002`."""
    epoch: float
    epochs: int
    loss: float | None
    valid_loss: float | None
    done: float
    """Share of all training of the sweep that is done, 0 to 1."""
    tokens_per_second: float
    seconds_left: float | None


@dataclass(frozen=True, kw_only=True)
class Answering:
    """One more held-out row was answered or scored."""

    system: str
    done: int
    of: int


@dataclass(frozen=True, kw_only=True)
class Rung:
    """Trials were compared, and some are trained no further."""

    text: str
    ended: tuple[str, ...]
    """All that have ended so far."""


@dataclass(frozen=True, kw_only=True)
class Note:
    """A sentence for the user."""

    text: str


@dataclass(kw_only=True)
class Standing:
    """What a sweep has come to so far, put together from what was told."""

    best: Training | None = None
    """The step that told the lowest validation loss."""
    ended: set[str] = field(default_factory=set[str])
    """Trials that are trained no further, to their end or cut at a rung."""

    def add(self, event: Training | Rung) -> None:
        if isinstance(event, Rung):
            self.ended |= set(event.ended)
            return
        if event.epoch >= event.epochs:
            self.ended.add(event.trial)
        if event.valid_loss is None or not math.isfinite(event.valid_loss):
            return
        if self.best is None or self.best.valid_loss is None or event.valid_loss < self.best.valid_loss:
            self.best = event

    @property
    def line(self) -> str:
        """`best so far 3.412, t2 rate 0.002, batch 4 after 2 epochs · 3 trials done`; nothing before a first loss."""
        if self.best is None or self.best.valid_loss is None:
            return ""
        best, done = self.best, len(self.ended)
        epochs = f"{best.epoch:.1f}".removesuffix(".0")
        where = f"{best.trial} {best.label} after {epochs} {'epoch' if epochs == '1' else 'epochs'}"
        return f"best so far {best.valid_loss:.3f}, {where} · {done} {'trial' if done == 1 else 'trials'} done"


Progress = Stage | Training | Answering | Rung | Note
Watch = Callable[[Progress], None]


def unwatched(_progress: Progress) -> None:
    """For callers who do not look."""
