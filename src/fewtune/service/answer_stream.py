"""Server-sent events, and noticing that whoever asked has gone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

T = TypeVar("T")

DONE = b"data: [DONE]\n\n"
# One for all: `json.dumps` would make another for each token.
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def event(data: Mapping[str, Any], name: str | None = None) -> bytes:
    """One event; a name goes into a line of its own."""
    text = _encode(data)
    return (f"event: {name}\ndata: {text}\n\n" if name else f"data: {text}\n\n").encode(errors="replace")


async def while_there(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """The work's result; it is cancelled, and ClientDisconnect raised, once the client has gone."""
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_left(receive))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientDisconnect
    finally:
        for task in (working, leaving):
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task


class AnswerStream(Response):
    """Writes each piece as it comes; `close` is called when all is written, and when the client goes before that."""

    media_type = "text/event-stream"

    def __init__(
        self, pieces: AsyncIterator[bytes], close: Callable[[], None], headers: Mapping[str, str] | None = None
    ) -> None:
        self.status_code = 200
        self.background = None
        self.pieces = pieces
        self.close = close
        # A proxy that gathers an answer before it passes it on would gather this one to its end.
        self.init_headers({"x-accel-buffering": "no", **(headers or {})})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            with suppress(ClientDisconnect):
                await while_there(receive, self._write(send))
        finally:
            self.close()

    async def _write(self, send: Send) -> None:
        async for piece in self.pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
