"""What runs on each node of a Ray cluster: one actor with one copy of the base, which trains and answers.

It does nothing unasked: the driver asks for what comes next, and asks again when it has taken note. So a step is
saved here only after it is known there, and an actor that nobody can reach any more goes no further.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Generic, TypeVar

from fewtune.engine import devices, memory
from fewtune.engine.base_model import BaseModel, load
from fewtune.errors import FewtuneError
from fewtune.providers.contract import Checkpoint, Event, Point, Reply, Request, Trial, Workspace
from fewtune.providers.local import LocalProvider
from fewtune.types import Precision

Item = TypeVar("Item")

SECONDS_OF_WORK = 0.2
"""After which what was done is told."""
_PACKAGES = ("fewtune", "torch", "transformers", "tokenizers", "numpy")
"""Those that the numbers come from."""


@dataclass(frozen=True, kw_only=True)
class About:
    """What a node says of itself."""

    versions: Mapping[str, str]
    cores: int
    device: str


@dataclass(frozen=True, kw_only=True)
class Batch(Generic[Item]):
    """What a node has done since it was asked before."""

    items: Sequence[Item]
    over: bool
    error: FewtuneError | None = None
    """Why it is over."""


Items = Generator[Event | Reply, None, None]


@dataclass(frozen=True, kw_only=True)
class _Stream:
    items: Items
    targets: Mapping[str, int | None]


def versions() -> dict[str, str]:
    """Of the packages that the numbers come from, as they are installed here."""
    found: dict[str, str] = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "none"
    return found


class Node:
    """The actor. Workers of the engine are its children and end with it."""

    def __init__(self) -> None:
        self._base: tuple[Workspace, BaseModel] | None = None
        self._streams: dict[str, _Stream] = {}

    def about(self) -> About:
        return About(versions=versions(), cores=devices.cores(), device=devices.best().type)

    def sees(self, file: Path) -> bool:
        return file.exists()

    def most(self, workspace: Workspace, trials: Sequence[Trial]) -> int | FewtuneError | None:
        """How many such trials this node can hold, None where nobody knows; an error says why it cannot train them."""
        rows = dict.fromkeys(row for trial in trials for row in (*trial.train_rows, *trial.valid_rows))
        examples = [workspace.examples[row] for row in rows]
        plans = [trial.plan for trial in trials]
        base, precision, recipe = workspace.base, workspace.precision, workspace.recipe
        try:
            fit = memory.beside(base, plans, examples, precision=precision, recipe=recipe)
            if fit == 0:
                memory.check(base, plans[:1], examples, precision=precision, recipe=recipe)
            return fit
        except FewtuneError as error:
            return error

    def train(self, stream: str, workspace: Workspace, targets: Mapping[str, int | None]) -> None:
        """Get ready to train, as `Provider.advance`; `more` does it."""
        self._streams[stream] = _Stream(items=self._training(workspace, targets), targets=targets)

    def answer(self, stream: str, workspace: Workspace, model: str, requests: Sequence[Request]) -> None:
        """Get ready to answer, as `Provider.sample`; `more` does it."""
        self._streams[stream] = _Stream(items=self._answering(workspace, model, requests), targets={})

    def _training(self, workspace: Workspace, targets: Mapping[str, int | None]) -> Items:
        yield from self._open(workspace).advance(targets)

    def _answering(self, workspace: Workspace, model: str, requests: Sequence[Request]) -> Items:
        yield from self._open(workspace).sample(model, requests)

    def more(self, stream: str) -> Batch[Event | Reply]:
        """A fifth of a second of it, or less: an event that decides something is told before anything is done."""
        current, items, until = self._streams[stream], list[Event | Reply](), time.monotonic() + SECONDS_OF_WORK
        try:
            for item in current.items:
                items.append(item)
                if time.monotonic() > until or _is_saved_next(item, current.targets):
                    return Batch(items=items, over=False)
        except FewtuneError as error:
            del self._streams[stream]
            return Batch(items=items, over=True, error=error)
        del self._streams[stream]
        return Batch(items=items, over=True)

    def close(self, stream: str) -> None:
        """Pause, with everything saved."""
        current = self._streams.pop(stream, None)
        if current is not None:
            current.items.close()

    def _open(self, workspace: Workspace) -> LocalProvider:
        """A provider for one stream, since elsewhere its trials may have gone on; the base stays in memory."""
        if self._base is None or _base_of(self._base[0]) != _base_of(workspace):
            # The one before goes first: two may not fit.
            self._base = None
            base = load(workspace.base, precision=workspace.precision, recipe=workspace.recipe)
            self._base = (workspace, base)
        return LocalProvider(workspace, self._base[1])


def _base_of(workspace: Workspace) -> tuple[str, Precision | None, str | None]:
    return workspace.base, workspace.precision, workspace.recipe


def _is_saved_next(item: Event | Reply, targets: Mapping[str, int | None]) -> bool:
    """Whether the step may be saved as soon as training goes on: then it must be known before."""
    return isinstance(item, Checkpoint) or (isinstance(item, Point) and item.step == targets[item.handle])
