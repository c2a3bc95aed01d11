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
    usd: float | None
    """Dollars that the search has taken so far, by the estimate; None where nobody knows."""
    competes: bool = True
    """False after the rungs, on other folds or rows: such losses are lower or higher because their rows are."""


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


@dataclass(frozen=True, kw_only=True)
class Failed:
    """A trial has come to an end that it was not meant to have; the others go on."""

    trial: str
    text: str


Progress = Stage | Training | Answering | Rung | Failed | Note
Watch = Callable[[Progress], None]


def unwatched(_progress: Progress) -> None:
    """For callers who do not look."""
