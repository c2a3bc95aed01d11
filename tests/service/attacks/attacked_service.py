"""The application with rows of two projects, and ways to ask it what no ordinary client would."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from fastapi.routing import iter_route_contexts
from starlette.types import Message, Scope

from fewtune.store.chat_completions import ChatCompletionRecord
from fewtune.store.job_records import NewJob
from fewtune.store.queue import Queue
from service.scripted_service import ScriptedService

_SECONDS = 60
_AT_ONCE = 8
_UNBOUNDED = {"creations_per_minute": 10**9, "waiting_jobs": 10**9}


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One method of one URL, as the application declares it."""

    method: str
    path: str

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(frozen=True, kw_only=True)
class Ask:
    """A request, to the byte."""

    method: str
    target: str
    headers: Sequence[tuple[str, str]] = ()
    body: bytes = b""
    key: str | None = None


@dataclass(frozen=True, kw_only=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Ids of what one project has, by the parameter that names it in a path."""

    project: str
    key: str
    ids: Mapping[str, str] = field(default_factory=dict[str, str])


class AttackedService(ScriptedService):
    """`red` and `blue` have one row of every kind; both keys are administrators', so that no other rule hides a row."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        super().__init__(folder, **{"limits": _UNBOUNDED, **settings})
        self.folder = folder
        self.red, self.blue = self._filled("red"), self._filled("blue")
        self.revoked = self.stores.keys.create("gone", "red", admin=True)[1]
        self.stores.keys.revoke("gone")

    def ask(self, method: str, target: str, *, key: str | None = None, **values: Any) -> Reply:
        """One request with red's key; an empty key sends none. `json` is a body and its content type."""
        if "json" in values:
            values["body"] = json.dumps(values.pop("json")).encode()
            values["headers"] = (*values.get("headers", ()), ("content-type", "application/json"))
        return next(self.ask_all([Ask(method=method, target=target, key=key, **values)]))

    def ask_all(self, asks: Iterable[Ask]) -> Iterator[Reply]:
        """The answers in their order; some requests are answered at the same time."""
        waiting = iter(asks)
        while some := list(islice(waiting, _AT_ONCE)):
            yield from asyncio.run_coroutine_threadsafe(self._gathered(some), self.loop).result(_SECONDS)

    def operations(self) -> list[Operation]:
        """Each that any router has, whether it is described or not."""
        routes = iter_route_contexts(self.app.routes)
        found = [(method, route.path) for route in routes for method in sorted(route.methods or ())]
        return [Operation(method=method, path=path.replace(":path}", "}")) for method, path in found if path]

    def raw(self, sent: bytes) -> bytes:
        """What the server's port answers to these bytes, until it closes."""
        return raw(self.port, sent)

    async def _gathered(self, asks: Sequence[Ask]) -> list[Reply]:
        return await asyncio.gather(*map(self._ask, asks))

    async def _ask(self, ask: Ask) -> Reply:
        told: list[Message] = []
        bodies = _bodies(ask.body)

        async def receive() -> Message:
            return await anext(bodies)

        async def send(message: Message) -> None:
            told.append(message)

        with suppress(ConnectionAbortedError):
            await self.app(self._scope(ask), receive, send)
        start, *others = told
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in start["headers"]}
        body = b"".join(message.get("body", b"") for message in others)
        return Reply(status=start["status"], headers=headers, body=body)

    def _scope(self, ask: Ask) -> Scope:
        """As uvicorn makes it."""
        path, _, query = ask.target.partition("?")
        key = self.red.key if ask.key is None else ask.key
        headers = [("host", f"127.0.0.1:{self.port}"), *ask.headers]
        headers += [("authorization", f"Bearer {key}")] if key else []
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": "http",
            "method": ask.method,
            "path": unquote(path),
            "raw_path": path.encode("latin-1", "replace"),
            "query_string": query.encode("latin-1", "replace"),
            "root_path": "",
            "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", self.port),
            "state": {},
        }

    def _filled(self, project: str) -> Rows:
        _, key = self.stores.keys.create(project, project, admin=True)
        with self.stores.files.begin() as writing:
            writing.write(f'{{"of": "{project}"}}\n'.encode())
            file = writing.commit(project=project, filename=f"{project}.jsonl", purpose="fine-tune").id
        upload = self.stores.uploads.create(
            project=project, filename=f"{project}.jsonl", purpose="fine-tune", bytes=9, mime_type="text/plain"
        ).id
        model = f"ft:pocket:fewtune:{project}:abc"
        self.stores.models.add(name=model, project=project, base="pocket", kind="tuned")
        permissions = self.stores.permissions.create(project, model, [f"{project}-friends"]) or []
        ids = {
            "file_id": file,
            "upload_id": upload,
            "job_id": self._job(project, file, model),
            "model": model,
            "checkpoint": model,
            "permission_id": permissions[0].id,
            "completion_id": self._completion(project),
            "response_id": "resp_none",
            "rest": "rest",
        }
        return Rows(project=project, key=key, ids=ids)

    def _job(self, project: str, file: str, model: str) -> str:
        wanted = NewJob(
            project=project,
            key_id=project,
            model="pocket",
            base="pocket",
            method="supervised",
            training_file=file,
            hyperparameters={},
            seed=0,
            suffix=project,
            metadata={"of": project},
        )
        job = self.stores.jobs.create(wanted, idempotency_key=None, body_sha256=project, retried=False)
        queue = Queue(self.stores.engine)
        (claim,) = queue.claim("tests", seconds=60)
        queue.event(claim, f"An event of {project}.")
        queue.checkpoint(claim, 1, f"{model}:ckpt-step-1", {"step": 1, "train_loss": 0.5})
        queue.end(claim, "succeeded", fine_tuned_model=model, trained_tokens=1)
        return job.id

    def _completion(self, project: str) -> str:
        usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
        record = ChatCompletionRecord(
            id=f"chatcmpl-{project}",
            project=project,
            created_at=int(time.time()),
            model="pocket",
            metadata={"of": project},
            messages=[{"role": "user", "content": f"A question of {project}."}],
            answer={"created": 1, "model": "pocket", "choices": [], "usage": usage, "system_fingerprint": ""},
        )
        self.stores.chat_completions.add(record)
        return record.id


async def _bodies(body: bytes) -> AsyncIterator[Message]:
    yield {"type": "http.request", "body": body, "more_body": False}
    await asyncio.Event().wait()


def raw(port: int, sent: bytes) -> bytes:
    """All that comes back until the other side closes, or breaks off."""
    found = bytearray()
    with socket.create_connection(("127.0.0.1", port), timeout=_SECONDS) as connection, suppress(ConnectionError):
        connection.sendall(sent)
        while piece := connection.recv(2**16):
            found += piece
    return bytes(found)
