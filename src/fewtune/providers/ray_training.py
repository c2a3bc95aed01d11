"""Trials on their way on the nodes of a cluster: dealt, followed, and dealt again where a node is lost."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from fewtune.errors import ProviderError
from fewtune.providers.contract import Checkpoint, Event, Failure, Finished, Message, Point
from fewtune.providers.dealing import Room, deal
from fewtune.providers.ray_node import Batch
from fewtune.providers.ray_session import Seat, Session, all_lost


@dataclass(frozen=True, kw_only=True)
class _Group:
    """What one node trains at the moment."""

    seat: Seat
    stream: str
    handles: Sequence[str]


class RayTraining:
    """One `advance`. A node trains one group at a time; what finds no room waits until a node is free."""

    def __init__(
        self,
        session: Session,
        rooms: Mapping[Seat, Room],
        workspace: Any,
        targets: Mapping[str, int | None],
        work: Mapping[str, float],
        told: Mapping[str, int],
    ) -> None:
        """`workspace` is Ray's reference to one; `work` is what each trial has before it, in any unit; `told` has the
        steps up to which points are known."""
        self._session, self._rooms, self._workspace = session, dict(rooms), workspace
        self._targets, self._work = targets, work
        self._waiting = list(targets)
        self._groups: dict[str, _Group] = {}
        """By node."""
        self._asked: dict[Any, _Group] = {}
        """By Ray's reference to the batch that the node was asked for."""
        self._batch: deque[Event] = deque()
        """Events that came, and that were not taken yet."""
        self._told, self._checkpoints = dict(told), set[str]()
        self._ended: set[str] = set()

    def events(self) -> Iterator[Event]:
        while self._waiting or self._groups:
            self._deal()
            (ready, *_), _ = ray.wait(list(self._asked))
            group = self._asked.pop(ready)
            batch: Batch[Event] | None = got(ready)
            if batch is None:
                yield self._lose(group)
                continue
            self._batch.extend(batch.items)
            while self._batch:
                event = self._batch.popleft()
                if self._is_news(event):
                    yield event
            if batch.over:
                del self._groups[group.seat.id]
            if batch.error:
                raise batch.error
            if not batch.over:
                self._ask(group)

    def pause(self) -> list[Point]:
        """Save all trials as they stand; the points that nobody took are given back, to be kept first of all."""
        for reference, group in self._asked.items():
            batch: Batch[Event] | None = got(reference)
            self._batch.extend(batch.items if batch else ())
            if batch is None or batch.over:
                del self._groups[group.seat.id]
        self._asked = {}
        return [event for event in self._batch if isinstance(event, Point) and self._is_news(event)]

    def close(self) -> None:
        """The nodes save what they have, and do nothing more; to be called after `pause`."""
        closing = [group.seat.actor.close.remote(group.stream) for group in self._groups.values()]
        for reference in closing:
            # Of a node that is lost just now the last saved point is the truth.
            with suppress(RayError):
                ray.get(reference)

    def abandon(self) -> None:
        """End at once: the last saved points are the truth."""
        for group in self._groups.values():
            self._session.end(group.seat)

    def _deal(self) -> None:
        """Give what waits to the nodes that have nothing to do."""
        idle = {seat.id: seat for seat in self._rooms if seat.id not in self._groups}
        dealt = deal(
            {handle: self._work[handle] for handle in self._waiting},
            {seat.id: self._rooms[seat] for seat in idle.values()},
        )
        for node, handles in dealt.items():
            group = _Group(seat=idle[node], stream=secrets.token_hex(8), handles=handles)
            self._waiting = [handle for handle in self._waiting if handle not in handles]
            targets = {handle: self._targets[handle] for handle in handles}
            group.seat.actor.train.remote(group.stream, self._workspace, targets)
            self._groups[node] = group
            self._ask(group)
        if not self._groups:
            raise no_room() if self._rooms else all_lost()

    def _ask(self, group: _Group) -> None:
        self._asked[group.seat.actor.more.remote(group.stream)] = group

    def _lose(self, group: _Group) -> Message:
        self._session.lose(group.seat)
        del self._groups[group.seat.id], self._rooms[group.seat]
        left = [handle for handle in group.handles if handle not in self._ended]
        self._waiting += left
        who = f"its {len(left)} trials go" if len(left) > 1 else "its trial goes"
        text = f"Node {group.seat.name} was lost; {who} on elsewhere from where they were saved."
        return Message(handle=group.handles[0], text=text)

    def _is_news(self, event: Event) -> bool:
        """After a loss, steps are done again, and told again by the next node, with the same numbers."""
        match event:
            case Point():
                news = event.step > self._told.get(event.handle, 0)
                self._told[event.handle] = max(event.step, self._told.get(event.handle, 0))
                return news
            case Checkpoint():
                news = event.model not in self._checkpoints
                self._checkpoints.add(event.model)
                return news
            case Failure() | Finished():
                self._ended.add(event.handle)
                return True
            case Message():
                return True


def no_room(told: str = "") -> ProviderError:
    return ProviderError(
        f"No node of the cluster has enough memory for one of these trials.{' ' + told if told else ''}",
        fix="Choose a smaller base, batch size or rank, or add a node with more memory.",
    )


def got(reference: Any) -> Any:
    """None where the node was lost."""
    try:
        return ray.get(reference)
    except RayTaskError as error:
        # An error of ours, in code that ran there: as it would be here.
        raise error.cause from error
    except RayError:
        return None
