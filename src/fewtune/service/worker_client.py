"""The web's side of the workers' sockets: it asks, hands on what is written, and asks anew where a worker died.

A question goes to the worker with the fewest of them. Where a worker is lost, what nobody had begun to answer goes to
the next one; what was begun is refused, since its text may be on its way to the client already.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fewtune.providers.contract import Answer, Chunk, Request, TokenChoice
from fewtune.service.worker.protocol import LONGEST_LINE, Ask, Model, Refused, ask_line, line_of

log = logging.getLogger("fewtune.service")

_LONGEST_ANSWER = 2**25
"""Bytes of a line that a worker may write: an answer's log-likelihoods are many times its text."""
_MOST_UNSENT = 2**26
"""Bytes that wait to be read by one worker; beyond them it is busy."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0
_MOST_ASKS = 2
"""How often a question is asked: one that kills its worker must not kill all of them, one after another."""
_STATUS_SECONDS = 2.0


Reply = Chunk | Answer | Refused
"""Their ids are the places of the questions among those that were asked together. A refusal's code may also be
`no_worker` or `worker_lost`; the choices of an answer have come with its pieces."""


@dataclass(kw_only=True, slots=True, eq=False)
class _Question:
    id: int
    place: int
    ask: Ask
    asking: Asking
    link: _Link | None = None
    begun: bool = False
    asks: int = 0


class Asking:
    """Questions of one HTTP request, asked together; leaving it withdraws those that have no answer yet."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._open: dict[int, _Question] = {}
        self._replies: list[Reply] = []
        self._reader: asyncio.Future[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, _kind: type[BaseException] | None, _error: object, _at: TracebackType | None) -> None:
        self.withdraw()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[Reply]:
        """All that has come since the last time; it waits until there is something."""
        while not self._replies:
            if not self._open:
                raise StopAsyncIteration
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        replies, self._replies = self._replies, []
        return replies

    def withdraw(self) -> None:
        for question in self._open.values():
            self._workers.withdraw(question)
        self._open.clear()

    def add(self, question: _Question) -> None:
        self._open[question.id] = question

    def tell(self, question: _Question, reply: Reply) -> None:
        if not isinstance(reply, Chunk):
            self._open.pop(question.id, None)
        self._replies.append(reply)
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)


class Workers:
    """All workers of the service, connected or not."""

    def __init__(self, sockets: Sequence[Path], *, patience_seconds: float = 10.0) -> None:
        self._links = [_Link(path, self) for path in sockets]
        self._patience = patience_seconds
        self._numbers = itertools.count(1)
        self._parked: dict[int, tuple[_Question, asyncio.TimerHandle]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self.tokens_read = 0
        self.tokens_written = 0

    async def __aenter__(self) -> Self:
        """Connects in the background, for as long as it is entered."""
        self._tasks = [asyncio.create_task(link.keep_connected()) for link in self._links]
        return self

    async def __aexit__(self, _kind: type[BaseException] | None, _error: object, _at: TracebackType | None) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def ask(self, model: Model, requests: Sequence[Request]) -> Asking:
        """Ask all of them at once; their own ids and models are not looked at."""
        asking = Asking(self)
        for place, request in enumerate(requests):
            number = next(self._numbers)
            ask = Ask(id=number, model=model, request=request)
            question = _Question(id=number, place=place, ask=ask, asking=asking)
            asking.add(question)
            self._send(question)
        return asking

    def withdraw(self, question: _Question) -> None:
        """Nobody waits for it any more."""
        _, timer = self._parked.pop(question.id, (None, None))
        if timer is not None:
            timer.cancel()
        if question.link is not None and question.link.questions.pop(question.id, None):
            question.link.write(line_of({"withdraw": question.id}))

    async def wake(self) -> None:
        """A job was made or changed; a worker that is not there will look by itself."""
        for link in self._connected():
            link.write(line_of({"wake": True}))

    async def statuses(self) -> list[Mapping[str, Any]]:
        """What each worker says of itself; one that does not answer soon is left out."""
        found = await asyncio.gather(*(link.status(next(self._numbers)) for link in self._connected()))
        return [status for status in found if status is not None]

    def connected(self) -> None:
        """A worker is there: it gets what has been waiting."""
        parked, self._parked = self._parked, {}
        for question, timer in parked.values():
            timer.cancel()
            self._send(question)

    def lost(self, questions: Sequence[_Question]) -> None:
        """The worker that was to answer them is gone."""
        for question in questions:
            if question.begun or question.asks >= _MOST_ASKS:
                _refuse(question, "worker_lost", "The worker that wrote this answer has died. Ask again.")
            else:
                self._send(question)

    def _connected(self) -> list[_Link]:
        return [link for link in self._links if link.is_connected]

    def _send(self, question: _Question) -> None:
        link = min(self._connected(), key=lambda one: len(one.questions), default=None)
        if link is None:
            timer = asyncio.get_running_loop().call_later(self._patience, self._give_up, question)
            self._parked[question.id] = (question, timer)
        else:
            link.ask(question)

    def _give_up(self, question: _Question) -> None:
        del self._parked[question.id]
        _refuse(question, "no_worker", "No worker is there to answer; one is being started.")


@dataclass(eq=False)
class _Link:
    """The connection with one worker, made again whenever it breaks."""

    path: Path
    workers: Workers
    questions: dict[int, _Question] = field(default_factory=dict[int, _Question])
    _writer: asyncio.StreamWriter | None = None
    _asked_status: dict[int, asyncio.Future[Mapping[str, Any] | None]] = field(default_factory=dict[int, Any])
    _pause: float = _FIRST_PAUSE

    @property
    def is_connected(self) -> bool:
        return self._writer is not None

    async def keep_connected(self) -> None:
        while True:
            with suppress(OSError):
                await self._connect_and_listen()
            await asyncio.sleep(self._pause)
            self._pause = min(self._pause * 2, _LONGEST_PAUSE)

    def ask(self, question: _Question) -> None:
        line = ask_line(question.ask)
        if len(line) > LONGEST_LINE:
            _refuse(question, "context_length_exceeded", "The prompt is longer than any model's context.")
        elif self._unsent() > _MOST_UNSENT:
            _refuse(question, "busy", "Too many requests wait for an answer.")
        else:
            question.link = self
            question.asks += 1
            self.questions[question.id] = question
            self.write(line)

    def write(self, line: bytes) -> None:
        if self._writer is not None:
            self._writer.write(line)

    async def status(self, number: int) -> Mapping[str, Any] | None:
        future = asyncio.get_running_loop().create_future()
        self._asked_status[number] = future
        self.write(line_of({"status": number}))
        try:
            return await asyncio.wait_for(future, _STATUS_SECONDS)
        except TimeoutError:
            return None
        finally:
            self._asked_status.pop(number, None)

    def _unsent(self) -> int:
        return 0 if self._writer is None else self._writer.transport.get_write_buffer_size()

    async def _connect_and_listen(self) -> None:
        reader, writer = await asyncio.open_unix_connection(self.path, limit=_LONGEST_ANSWER)
        self._writer = writer
        try:
            self.workers.connected()
            while line := await reader.readline():
                self._read(line)
                self._pause = _FIRST_PAUSE
        except (ValueError, KeyError, TypeError, IndexError) as error:
            # Never its own words: they may hold what was written.
            log.error("a worker said what cannot be read (%s); its connection is made anew", type(error).__name__)
        finally:
            self._writer = None
            writer.close()
            self._lose()

    def _lose(self) -> None:
        questions, self.questions = self.questions, {}
        for future in self._asked_status.values():
            if not future.done():
                future.set_result(None)
        self.workers.lost(list(questions.values()))

    def _read(self, line: bytes) -> None:
        told: dict[str, Any] = json.loads(line)
        for number, text, *choices in told.get("pieces", ()):
            question = self.questions.get(number)
            if question is not None:
                question.begun = True
                piece = Chunk(id=question.place, text=text, choices=_choices(choices[0]) if choices else ())
                question.asking.tell(question, piece)
        for one in told.get("answers", ()):
            self.workers.tokens_read += one["prompt_tokens"] or 0
            self.workers.tokens_written += one["tokens"]
            question = self.questions.pop(one["id"], None)
            if question is not None:
                question.asking.tell(question, _answer(one, question.place))
        for one in told.get("refusals", ()):
            question = self.questions.pop(one["id"], None)
            if question is not None:
                _refuse(question, one["code"], one["text"])
        if "status" in told:
            future = self._asked_status.get(told["status"])
            if future is not None and not future.done():
                future.set_result(told)


def _refuse(question: _Question, code: str, text: str) -> None:
    question.asking.tell(question, Refused(id=question.place, code=code, text=text))


def _answer(one: Mapping[str, Any], place: int) -> Answer:
    return Answer(
        id=place,
        text=one["text"],
        tokens=one["tokens"],
        stop_reason=one["stop_reason"],
        seconds=one["seconds"],
        prompt_tokens=one["prompt_tokens"],
    )


def _choices(told: Sequence[Any]) -> tuple[TokenChoice, ...]:
    return tuple(
        TokenChoice(text=text, log_likelihood=likelihood, alternatives=tuple((other, value) for other, value in others))
        for text, likelihood, others in told
    )
