"""What a run tells those who watch it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


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
class Note:
    """A sentence for the user."""

    text: str


Progress = Stage | Training | Answering | Note
Watch = Callable[[Progress], None]


def unwatched(_progress: Progress) -> None:
    """For callers who do not look."""
