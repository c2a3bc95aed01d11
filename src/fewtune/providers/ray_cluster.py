"""A Ray cluster as a provider: the trials of `local`, dealt to nodes that share a folder.

Trials are kept in the run's folder as `local` keeps them, so a node goes on with what another began, and when all is
done no cluster is needed to use it. What is trained where is decided here; nodes do what they are asked for.
"""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from typing import Any

import ray
from ray.exceptions import RayError

from fewtune.errors import BaseModelError, FewtuneError, ProviderError, TrainingError, from_os_error
from fewtune.providers import admission, untold
from fewtune.providers.contract import Ask, Capabilities, Chunk, Event, Refusal, Reply, Request, Score, Trial, Workspace
from fewtune.providers.dealing import Room
from fewtune.providers.local import CAPABILITIES
from fewtune.providers.ray_node import Batch
from fewtune.providers.ray_session import Seat, Session, session
from fewtune.providers.ray_training import RayTraining, got, no_room
from fewtune.providers.refusal import unable
from fewtune.providers.trial_folder import TrialFolder
from fewtune.schedule.order import steps_per_epoch

_CAPABILITIES = replace(CAPABILITIES, can_mix=False, tells_choices=False)
_ANSWERED_TOGETHER = 256
_SECONDS_TO_WAIT = 0.001
"""Before an iterator that had nothing is asked again."""


class RayProvider:
    """Handles and model names are those of `local`."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._kept = TrialFolder(workspace.folder)
        self._most: dict[str, int] = {}
        """Trials that a node can hold, by node."""

    @property
    def capabilities(self) -> Capabilities:
        return _CAPABILITIES

    @cached_property
    def _session(self) -> Session:
        return session(self._workspace.address)

    @cached_property
    def _placed(self) -> Any:
        """Base, rows and folder, brought to each node once."""
        return ray.put(self._workspace)

    def start(self, trials: Sequence[Trial]) -> tuple[str, ...]:
        """Raises ProviderError too where no node can hold a trial, or one does not see the folder."""
        for trial in trials:
            admission.check(trial, _CAPABILITIES)
        for trial in trials:
            self._kept.path(trial.id)
        self._most.clear()
        self._rooms(trials)
        self._kept.enlist(trials)
        return tuple(trial.id for trial in trials)

    def advance(self, targets: Mapping[str, int | None]) -> Generator[Event, None, None]:
        trials: dict[str, Trial] = {}
        told: dict[str, int] = {}
        for handle in targets:
            trial = self._kept.trial(handle)
            if points := untold.kept(self._kept, handle):
                told[handle] = points[-1].step
            yield from untold.tell(self._kept, handle)
            yield from self._kept.checkpoints(handle)
            if ended := self._kept.ended(handle):
                yield ended
            else:
                trials[handle] = trial
        if trials:
            yield from self._train(trials, {handle: targets[handle] for handle in trials}, told)

    def _train(
        self, trials: Mapping[str, Trial], targets: Mapping[str, int | None], told: Mapping[str, int]
    ) -> Iterator[Event]:
        rooms = self._rooms(list(trials.values()))
        work = {handle: self._work(trial, targets[handle]) for handle, trial in trials.items()}
        training = RayTraining(self._session, rooms, self._placed, targets, work, told)
        try:
            yield from training.events()
        except (GeneratorExit, FewtuneError):
            untold.keep(self._kept, training.pause())
            training.close()
            raise
        except BaseException:
            training.abandon()
            raise

    def _work(self, trial: Trial, target: int | None) -> float:
        """Rows to be read until the target."""
        steps = steps_per_epoch(len(trial.train_rows), trial.plan.rows_per_step) * trial.plan.epochs
        return (min(steps, steps if target is None else target) - self._kept.stood(trial.id)) * trial.plan.rows_per_step

    def _rooms(self, trials: Sequence[Trial]) -> dict[Seat, Room]:
        seats = self._session.seats()
        new = [seat for seat in seats if seat.id not in self._most]
        if new:
            self._check_folder(new)
            self._most |= self._holdings(new, trials)
        rooms = {seat: Room(speed=seat.speed, most=self._most[seat.id]) for seat in seats if self._most[seat.id]}
        if not rooms:
            raise no_room()
        return rooms

    def _check_folder(self, seats: Sequence[Seat]) -> None:
        """What one node saves the others must find."""
        mark = self._workspace.folder / f"shared-{secrets.token_hex(8)}"
        try:
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.touch()
        except OSError as error:
            raise from_os_error(error, "use the run's folder", mark.parent) from error
        try:
            asked = [(seat, seat.actor.sees.remote(mark)) for seat in seats]
            blind = [seat.name for seat, reference in asked if got(reference) is False]
        finally:
            mark.unlink(missing_ok=True)
        if blind:
            raise ProviderError(
                f"Node {blind[0]} does not see the run's folder.",
                where=str(self._workspace.folder),
                fix="Choose an --out on a file system that all nodes have, under the same path.",
            )

    def _holdings(self, seats: Sequence[Seat], trials: Sequence[Trial]) -> dict[str, int]:
        """How many such trials each node can hold; 0 for one that is too small, or was lost.

        Raises ProviderError where none can hold any, or one cannot use the base.
        """
        asked = [(seat, seat.actor.most.remote(self._placed, list(trials))) for seat in seats]
        found, refusals = dict[str, int](), list[str]()
        for seat, reference in asked:
            most = got(reference)
            if isinstance(most, TrainingError) and not isinstance(most, BaseModelError):
                refusals.append(str(most))
            elif isinstance(most, FewtuneError):
                raise ProviderError(f"Node {seat.name} cannot use the base: {most.what}", where=most.where, fix=_BASE)
            found[seat.id] = most if isinstance(most, int) else sys.maxsize if most is None else 0
        if refusals and not any(found.values()):
            raise no_room(refusals[0])
        return found

    def cancel(self, handles: Sequence[str]) -> None:
        self._kept.cancel(handles)

    def sample(self, model: str, requests: Iterable[Ask]) -> Iterator[Reply]:
        """On one node. What comes while others are answered waits for them, so a withdrawal comes too late."""
        live = iter(requests)
        while asked := _taken(live):
            refused = {_key(request): found for request in asked if (found := unable(request, _CAPABILITIES))}
            yield from refused.values()
            yield from self._answers(model, [request for request in asked if _key(request) not in refused])

    def _answers(self, model: str, asked: Sequence[Request]) -> Iterator[Reply]:
        """Where the node is lost on the way, another writes the same answers; what was told of them is not repeated."""
        left, told = {_key(request): request for request in asked}, dict[int, int]()
        while left:
            seat = self._session.seats()[0]
            again = dict(told)
            for reply in self._replies(seat, model, list(left.values())):
                if isinstance(reply, Chunk):
                    known = min(len(reply.text), again.get(reply.id, 0))
                    again[reply.id] = again.get(reply.id, 0) - known
                    told[reply.id] = told.get(reply.id, 0) + len(reply.text) - known
                    if known < len(reply.text):
                        yield replace(reply, text=reply.text[known:])
                else:
                    del left[reply.id, reply.scored if isinstance(reply, Refusal) else isinstance(reply, Score)]
                    yield reply

    def _replies(self, seat: Seat, model: str, asked: Sequence[Request]) -> Iterator[Reply]:
        """Those of one node; they end early where it is lost."""
        stream = secrets.token_hex(8)
        seat.actor.answer.remote(stream, self._placed, model, asked)
        try:
            while True:
                batch: Batch[Reply] | None = got(seat.actor.more.remote(stream))
                if batch is None:
                    break
                yield from batch.items
                if batch.error:
                    raise batch.error
                if batch.over:
                    return
            self._session.lose(seat)
        finally:
            with suppress(RayError):
                seat.actor.close.remote(stream)


_BASE = "Put it on a file system that all nodes have, under the same path, and give that as --base."


def _key(request: Request) -> tuple[int, bool]:
    return request.id, request.score is not None


def _taken(requests: Iterator[Ask]) -> list[Request]:
    """What is there at the moment; waits until something is. Empty at the end."""
    taken: list[Request] = []
    for request in requests:
        if isinstance(request, Request):
            taken.append(request)
        if len(taken) == _ANSWERED_TOGETHER or (taken and request is None):
            break
        if request is None:
            time.sleep(_SECONDS_TO_WAIT)
    return taken
