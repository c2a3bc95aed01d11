"""The application on a real port, asked byte for byte; no worker is there, so jobs wait."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from fewtune.service.settings import ServiceSettings
from service.scripted_service import WebService

TRAINING = b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'
_BOUNDARY = "a-boundary"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """All four keys are there, and the request has an id."""
        told = self.json["error"]
        assert set(told) == {"message", "type", "param", "code"}
        assert told["message"] and told["type"] and self.headers["x-request-id"].startswith("req_")
        assert self.status >= 400 and self.status != 409
        return told


class Web(WebService):
    """Also with the key of an administrator, of another project, and one that is revoked."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        super().__init__(ServiceSettings(folder=folder, **settings))
        self.folder = folder
        self.admin_key = self.stores.keys.create("admin", admin=True)[1]
        self.other_key = self.stores.keys.create("other", "elsewhere")[1]
        self.revoked_key = self.stores.keys.create("gone")[1]
        self.stores.keys.revoke("gone")

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = "",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """`body` as JSON unless it is bytes; `key` "" is an ordinary one, None is none."""
        given = {} if key is None else {"Authorization": f"Bearer {key or self.key}"}
        if body is not None:
            given["Content-Type"] = "application/json"
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            sent = json.dumps(body) if not isinstance(body, bytes | None) else body
            connection.request(method, path, sent, {**given, **(headers or {})})
            answer = connection.getresponse()
            told = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(status=answer.status, headers=told, body=answer.read())
        finally:
            connection.close()

    def send_form(self, path: str, *parts: tuple[str, bytes], key: str = "", end: str = "--") -> Answer:
        """`parts` are what follows `form-data; ` and the content."""
        pieces = [
            f"--{_BOUNDARY}\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() + body for head, body in parts
        ]
        sent = b"\r\n".join([*pieces, f"--{_BOUNDARY}{end}\r\n".encode()])
        headers = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}
        return self.ask("POST", path, sent, key=key, headers=headers)

    def file(
        self, content: bytes = TRAINING, *, name: str = "t.jsonl", purpose: str = "fine-tune", key: str = ""
    ) -> str:
        """The id of a new file."""
        parts = (('name="purpose"', purpose.encode()), (f'name="file"; filename="{name}"', content))
        answer = self.send_form("/v1/files", *parts, key=key)
        assert answer.status == 200, answer.body
        return answer.json["id"]

    def create_job(self, *, key: str = "", headers: Mapping[str, str] | None = None, **values: Any) -> Answer:
        """A job over a new file, unless one is given."""
        body = {"model": "pocket", **values}
        if "training_file" not in body:
            body["training_file"] = self.file(key=key)
        return self.ask("POST", "/v1/fine_tuning/jobs", body, key=key, headers=headers)

    def job(self, **values: Any) -> str:
        """The id of a new job."""
        return self.create_job(**values).json["id"]
