"""A worker that does what a test tells it, on a real socket and with the real protocol."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Self

from fewtune.providers.contract import Answer, Chunk, TokenChoice
from fewtune.service.worker.protocol import (
    Ask,
    AskStatus,
    Incoming,
    Refused,
    Status,
    Withdraw,
    answer_line,
    parse,
    pieces_line,
    refusal_line,
    status_line,
)

Script = Callable[["Line", Ask], Awaitable[None]]


class Line:
    """One connection of the web's."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writer = writer

    def piece(self, ask: Ask, text: str, choices: tuple[TokenChoice, ...] = ()) -> None:
        self.writer.write(pieces_line([Chunk(id=ask.id, text=text, choices=choices)]))

    def answer(self, ask: Ask, text: str, *, length: bool = False) -> None:
        answer = Answer(
            id=ask.id,
            text=text,
            tokens=len(text.split()),
            stop_reason="length" if length else "stop",
            seconds=0.1,
            prompt_tokens=len(ask.request.prompt.split()),
        )
        self.writer.write(answer_line(answer))

    def refuse(self, ask: Ask, code: str, text: str) -> None:
        self.writer.write(refusal_line(Refused(id=ask.id, code=code, text=text)))

    def die(self) -> None:
        self.writer.transport.abort()


async def say_after(line: Line, ask: Ask) -> None:
    """The prompt again, word by word."""
    words = ask.request.prompt.split()[: ask.request.max_tokens]
    for place, word in enumerate(words):
        line.piece(ask, word if place == 0 else f" {word}")
        await line.writer.drain()
        await asyncio.sleep(0)
    line.answer(ask, " ".join(words))


class ScriptedWorker:
    """Listens for as long as it is entered; `heard` is all that was said to it."""

    def __init__(self, path: Path, script: Script = say_after) -> None:
        self.path = path
        self.script = script
        self.heard: list[Incoming] = []
        self._lines: list[Line] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def asked(self) -> list[Ask]:
        return [one for one in self.heard if isinstance(one, Ask)]

    @property
    def withdrawn(self) -> list[int]:
        return [one.id for one in self.heard if isinstance(one, Withdraw)]

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_unix_server(self._serve, self.path, limit=2**21)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
            self.path.unlink(missing_ok=True)
        for task in self._tasks:
            task.cancel()
        for line in self._lines:
            line.die()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = Line(writer)
        self._lines.append(line)
        try:
            while told := await reader.readline():
                self._take(line, parse(told))
        except ConnectionError:
            pass
        finally:
            writer.close()

    def _take(self, line: Line, incoming: Incoming) -> None:
        self.heard.append(incoming)
        if isinstance(incoming, AskStatus):
            status = Status(id=incoming.id, training=(), writing=0, waiting=0, bases=("pocket",), pid=1)
            line.writer.write(status_line(status))
        if isinstance(incoming, Ask):
            task = asyncio.create_task(self._run(line, incoming))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _run(self, line: Line, ask: Ask) -> None:
        await self.script(line, ask)
