"""What it takes to be an experiment tracker: it takes the events of one run, in order.

A tracker lives in a process of its own (`courier`), so it may be slow, hang or fail without touching the training.
Events are plain values, and telling one twice must leave what telling it once leaves, as far as the tracker can: a
run that was killed repeats its last steps, with the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

State = Literal["finished", "stopped", "failed"]


@dataclass(frozen=True, kw_only=True)
class Began:
    """The first event: a run begins, or goes on."""

    run: str
    """The run's id."""
    key: str
    """The same for a run that goes on, another one for a run that begins: what the tracker's ids are made of."""
    created: float
    """When the run was first begun, in seconds since 1970."""
    folder: Path
    """The run's own."""
    config: Mapping[str, Any]
    """Settings, data and versions; never a key."""


@dataclass(frozen=True, kw_only=True)
class TrialBegan:
    """A trial is trained from here on; told again when it goes on after a rest."""

    trial: str
    config: Mapping[str, Any]
    """Its plan and seed."""


@dataclass(frozen=True, kw_only=True)
class Values:
    """What was measured at one step of one trial."""

    trial: str
    step: int
    seconds: float
    """That the trial had trained."""
    values: Mapping[str, float]
    """Finite numbers by name, as in `train/loss`."""


@dataclass(frozen=True, kw_only=True)
class TrialEnded:
    """A trial is trained no further. One that only rests at a rung ends with the run."""

    trial: str
    state: State


@dataclass(frozen=True, kw_only=True)
class Table:
    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, kw_only=True)
class File:
    """A file or folder of the run, to be kept with it."""

    name: str
    kind: str
    """`dataset`, `model` or `report`."""
    path: Path


@dataclass(frozen=True, kw_only=True)
class Ended:
    """The last event. One that is `stopped` may go on later."""

    state: State
    verdict: str = ""
    """One sentence; empty where there is none."""
    numbers: Mapping[str, float]
    """What the run came to, as in `test/tuned/loss`."""


Event = Began | TrialBegan | Values | TrialEnded | Table | File | Ended
Track = Callable[[Event], None]


class Tracker(Protocol):
    address: str
    """Where the user finds the run: a link, a folder or a command."""

    def take(self, event: Event) -> None:
        """Note an event down; whatever it raises is told to the user once. After `Ended` everything is kept."""
        ...


def untracked(_event: Event) -> None:
    """For runs that no tracker was named for."""
