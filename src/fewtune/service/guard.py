"""What every request meets first: whom it is addressed to, where it comes from, and how large it is.

Plain ASGI, because all of it has to be decided before a body is read, and while it is.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from itertools import accumulate
from typing import Any

import anyio.to_thread
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fewtune.service.errors import ServiceError, answer_of, invalid, too_large
from fewtune.service.limits import Limits
from fewtune.service.settings import ServiceSettings

_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_ENCODED_CONTROL = re.compile(rb"%(?:[01][0-9a-f]|7f)", re.IGNORECASE)
_PART = re.compile(r"/v1/uploads/[^/]+/parts")
_FORM_OVERHEAD = 2**20
"""Bytes of a form beside its file."""
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
"""Also one that never ends; nothing in it is looked at twice."""
_NOT_BRACKETS = bytes(sorted(set(range(256)) - set(b"[]{}")))
_STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_SMALL_BODY = 2**17
"""Bytes up to which a body is looked at in the event loop."""
_HEADERS = {
    "openai-version": "2020-10-01",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
}


class Guard:
    """Outermost: gives the request its id, looks at its head, and answers what nobody else has answered."""

    def __init__(self, app: ASGIApp, settings: ServiceSettings) -> None:
        self.app = app
        self.settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":
            return await send({"type": "websocket.close", "code": 1008})
        await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        state = scope.setdefault("state", {})
        state["request_id"] = f"req_{secrets.token_hex(16)}"
        outgoing = _Outgoing(send, state["request_id"])
        try:
            self._look_at_head(scope)
            await self.app(scope, receive, outgoing)
        except ClientDisconnect:
            return
        except Exception as error:
            response = answer_of(error, request_id=state["request_id"], committed=state.get("committed", False))
            if outgoing.started:
                raise ConnectionAbortedError("The answer broke off.") from None
            await response(scope, receive, outgoing)

    def _look_at_head(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts(scope):
            raise ServiceError(403, "This Host is not served here.", code="host_not_allowed")
        if any(origin not in self.settings.allowed_origins for origin in origins):
            raise ServiceError(403, "Pages of this Origin may not call this server.", code="origin_not_allowed")
        if headers.get("content-encoding", "identity") != "identity":
            raise ServiceError(415, "Send the body as it is, without Content-Encoding.", code="unsupported_encoding")
        if _CONTROL.search(scope["path"]) or _ENCODED_CONTROL.search(scope["query_string"]):
            raise invalid("The URL holds a control character.", code="invalid_url")

    def _hosts(self, scope: Scope) -> frozenset[str]:
        """With the port that the server really has; without, where it is the usual one or the settings say so."""
        server = scope.get("server")
        port = server[1] if server and server[1] else self.settings.port
        given = frozenset(name.lower() for name in self.settings.allowed_hosts)
        names = given.union(_LOOPBACK, (self.settings.host.lower(),))
        bare = names if port == 80 else given
        return bare.union(f"{name}:{port}" for name in names)


class _Outgoing:
    """Adds to every answer what all of them carry."""

    def __init__(self, send: Send, request_id: str) -> None:
        self.send = send
        self.request_id = request_id
        self.since = time.perf_counter()
        self.started = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers[name] = value
            headers.setdefault("cache-control", "no-store")
            headers["x-request-id"] = self.request_id
            headers["openai-processing-ms"] = str(round(1000 * (time.perf_counter() - self.since)))
        await self.send(message)


class Bodies:
    """Innermost, so that nobody without a key can make the server read: counts bodies while they come in.

    A form is passed on piece by piece. Everything else is JSON: it is held, looked at for its depth, and its SHA-256
    put into the request's state as `body_sha256`.
    """

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self.app = app
        self.limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        headers = Headers(scope=scope)
        is_form = headers.get("content-type", "").lower().startswith("multipart/")
        most = self._most(scope["path"], is_form)
        if _declared(headers) > most:
            raise too_large(_too_large(most))
        counted = _counted(receive, most)
        if not is_form:
            counted = _again(await self._held(counted, scope["state"]), receive)
        await self.app(scope, counted, send)

    def _most(self, path: str, is_form: bool) -> int:
        if not is_form:
            return self.limits.json_bytes
        if path == "/v1/files":
            return self.limits.file_bytes + _FORM_OVERHEAD
        if _PART.fullmatch(path):
            return self.limits.part_bytes + _FORM_OVERHEAD
        raise ServiceError(415, "This URL takes JSON, not a form.", code="unsupported_media_type")

    async def _held(self, receive: Receive, state: dict[str, Any]) -> bytes:
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            body += message.get("body", b"")
            if not message.get("more_body", False):
                break
        held = bytes(body)
        if len(held) > _SMALL_BODY:
            await anyio.to_thread.run_sync(_look_at_json, held, self.limits)
        else:
            _look_at_json(held, self.limits)
        state["body_sha256"] = hashlib.sha256(held).hexdigest()
        return held


def _declared(headers: Headers) -> int:
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()):
        raise invalid("The Content-Length is no number.", code="invalid_content_length")
    return int(length[:20])


def _too_large(most: int) -> str:
    return f"The body is larger than {most:,} bytes, which is the most that this URL takes."


def _counted(receive: Receive, most: int) -> Receive:
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > most:
            raise too_large(_too_large(most))
        return message

    return counted


def _again(body: bytes, receive: Receive) -> Receive:
    """Give the held body once; after it only the client's leaving can come."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _look_at_json(body: bytes, limits: Limits) -> None:
    """Refuse what is nested too deeply or holds too many lists and objects, without parsing and without recursion."""
    if b"\x00" in body:
        raise invalid("The body is not JSON in UTF-8.", code="invalid_json")
    opened = body.count(b"[") + body.count(b"{")
    if opened <= limits.json_depth:
        return
    brackets = _STRING.sub(b"", body).translate(None, _NOT_BRACKETS)
    if brackets.count(b"[") + brackets.count(b"{") > limits.json_containers:
        raise invalid(f"The body holds more than {limits.json_containers:,} lists and objects.", code="invalid_json")
    if max(accumulate(map(_STEP.__getitem__, brackets)), default=0) > limits.json_depth:
        raise invalid(f"The body is nested deeper than {limits.json_depth} levels.", code="invalid_json")
