"""A server that the official client's own tests can be run against: what they name by fixed ids is there.

The ids of those tests are not ours, and no row of the store may have them. So each stands for an ordinary row, made as
any client would make it, and is translated before a route sees the request; what a test deletes is made anew. Any key
is taken, which is why such a server answers on the loopback only.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from anyio.to_thread import run_sync
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fewtune.errors import UsageError
from fewtune.service.stores import Stores
from fewtune.store.chat_completions import ChatCompletionRecord
from fewtune.store.job_records import NewJob
from fewtune.store.keys import Caller, Keys

_CALLER = Caller(key_id="key_conformance", project="conformance", admin=True)
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_BASES = ("gpt-6-astra", "gpt-5.4", "gpt-3.5-turbo-instruct", "model", "string")
"""Names of models that the tests sample from or look up, beside those that OpenAI tuned."""
_TUNED = ("ft:gpt-4o-mini:acemeco:suffix:abc123", "ft:gpt-4o-mini-2024-07-18:org:weather:B7R9VjQd")
_JOB = "ft-AF1WoRqd3aJAHsqc9NY7iL8F"
_DATA = b"Example data, longer than any part that the tests send.\n"


def conformant(stores: Stores) -> Stores:
    """The same stores, for any key and with the models that the tests name. Raises UsageError beyond the loopback."""
    if stores.settings.host not in _LOOPBACK:
        raise UsageError(
            "A server for conformance tests takes any key, so it answers on the loopback only.",
            fix="Leave out --host, or --conformance.",
        )
    chosen = {**dict.fromkeys(_BASES, stores.settings.base), **stores.names.chosen}
    return replace(stores, keys=_AnyKey(stores.keys), names=replace(stores.names, chosen=chosen))


class _AnyKey(Keys):
    def __init__(self, keys: Keys) -> None:
        vars(self).update(vars(keys))

    def verify(self, secret: str) -> Caller:
        return _CALLER


class FixedIds:
    """Innermost: puts an ordinary row's id in place of each fixed one, in the path and in the body."""

    def __init__(self, app: ASGIApp, stores: Stores) -> None:
        self.app = app
        self.stores = stores
        self._training_file = ""
        self._job = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        path, in_body = await run_sync(self._translated, scope["path"])

        async def translating() -> Message:
            message = await receive()
            body = message.get("body", b"")
            for fixed, real in in_body.items():
                body = body.replace(fixed, real)
            return {**message, "body": body} if message["type"] == "http.request" else message

        await self.app({**scope, "path": path}, translating, send)

    def _translated(self, path: str) -> tuple[str, Mapping[bytes, bytes]]:
        for name in (*_TUNED, _JOB):
            self.stores.models.add(name=name, project=_CALLER.project, base=self.stores.settings.base, kind="tuned")
        file = self._file_for_training()
        in_body = {b'"file-abc123"': f'"{file}"'.encode()}
        for beginning, translate in self._translations().items():
            if path.startswith(beginning):
                path, more = translate(path, beginning)
                in_body |= more
        return path, in_body

    def _translations(self) -> Mapping[str, Callable[[str, str], tuple[str, dict[bytes, bytes]]]]:
        return {
            "/v1/files/file_id": self._file,
            "/v1/files/string": self._file,
            f"/v1/fine_tuning/jobs/{_JOB}": self._of_job,
            "/v1/uploads/upload_abc123": self._upload,
            "/v1/chat/completions/completion_id": self._completion,
            f"/v1/fine_tuning/checkpoints/{_TUNED[1]}/permissions/cp_": self._permission,
        }

    def _file(self, path: str, fixed: str) -> tuple[str, dict[bytes, bytes]]:
        return path.replace(fixed, f"/v1/files/{self._made_file('assistants')}"), {}

    def _of_job(self, path: str, fixed: str) -> tuple[str, dict[bytes, bytes]]:
        if not self._job:
            self._job = self._made_job()
        return path.replace(fixed, f"/v1/fine_tuning/jobs/{self._job}"), {}

    def _upload(self, path: str, fixed: str) -> tuple[str, dict[bytes, bytes]]:
        """With one part, and room for another."""
        uploads = self.stores.uploads
        upload = uploads.create(
            project=_CALLER.project,
            filename="filename",
            purpose="assistants",
            bytes=len(_DATA),
            mime_type="text/plain",
        )
        with uploads.add_part(_CALLER.project, upload.id) as writing:
            writing.write(_DATA)
            part = writing.commit()
        digest = hashlib.md5(_DATA, usedforsecurity=False).hexdigest()
        in_body = {b'"string"': f'"{part.id}"'.encode(), b':"md5"': f':"{digest}"'.encode()}
        return path.replace(fixed, f"/v1/uploads/{upload.id}"), in_body

    def _completion(self, path: str, fixed: str) -> tuple[str, dict[bytes, bytes]]:
        usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
        record = ChatCompletionRecord(
            id=f"chatcmpl-{secrets.token_hex(12)}",
            project=_CALLER.project,
            created_at=int(time.time()),
            model=self.stores.settings.base,
            metadata={},
            messages=[],
            answer={"created": 0, "model": "", "choices": [], "usage": usage, "system_fingerprint": ""},
        )
        self.stores.chat_completions.add(record)
        return path.replace(fixed, f"/v1/chat/completions/{record.id}"), {}

    def _permission(self, path: str, fixed: str) -> tuple[str, dict[bytes, bytes]]:
        made = self.stores.permissions.create(_CALLER.project, _TUNED[1], ["string"]) or []
        return fixed.removesuffix("cp_") + made[0].id, {}

    def _file_for_training(self) -> str:
        if not self._training_file:
            self._training_file = self._made_file("fine-tune")
        return self._training_file

    def _made_file(self, purpose: str) -> str:
        with self.stores.files.begin() as writing:
            writing.write(_DATA)
            return writing.commit(project=_CALLER.project, filename="data.jsonl", purpose=purpose).id

    def _made_job(self) -> str:
        wanted = NewJob(
            project=_CALLER.project,
            key_id=_CALLER.key_id,
            model=self.stores.settings.base,
            base=self.stores.settings.base,
            method="supervised",
            training_file=self._file_for_training(),
            hyperparameters={},
            seed=0,
        )
        return self.stores.jobs.create(wanted, idempotency_key=None, body_sha256=_JOB, retried=False).id
