"""The web process as the supervisor starts it, with a worker that obeys, and a log that can be read."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from fewtune.service.settings import VARIABLE, ServiceSettings
from fewtune.service.worker.address import worker_socket
from fewtune.store.keys import Keys
from fewtune.store.service_database import open_service_database
from service.attacks.attacked_service import raw
from service.scripted_service import obey
from service.scripted_worker import ScriptedWorker

_SECONDS = 60


class WebProcess:
    """Listens at a free port until `stop`. Its log also tells of every module that it imports."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700)
        self.folder = folder
        self.log = folder.with_suffix(".log")
        self.settings = ServiceSettings(folder=folder)
        keys = Keys(open_service_database(self.settings.store))
        self.key = keys.create("tests", "red", admin=True)[1]
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._worker = ScriptedWorker(worker_socket(folder, 0), obey)
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._do(self._worker.__aenter__())
        self._process = self._started()
        while self.ask("GET", "/readyz", key="")[0] != 200:
            time.sleep(0.05)

    def ask(
        self, method: str, target: str, body: Any = None, *, key: str | None = None, **headers: str
    ) -> tuple[int, bytes]:
        """Status and body; a body that is no bytes is sent as JSON."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=_SECONDS)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None and not isinstance(body, bytes):
            body, sent = json.dumps(body).encode(), {"content-type": "application/json", **sent}
        secret = self.key if key is None else key
        try:
            connection.request(method, target, body, {"authorization": f"Bearer {secret}", **sent} if secret else sent)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def raw(self, sent: bytes) -> bytes:
        return raw(self.port, sent)

    def first(self, sent: bytes) -> bytes:
        """The beginning of the answer, which may come before the request has ended."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=_SECONDS) as connection:
            connection.sendall(sent)
            return connection.recv(2**12)

    def head(self, line: str, *headers: str) -> bytes:
        """A request's head as far as the headers; the empty line that ends it is left to the caller."""
        given = [f"{line} HTTP/1.1", f"Host: 127.0.0.1:{self.port}", f"Authorization: Bearer {self.key}"]
        return "".join(f"{one}\r\n" for one in (*given, *headers)).encode()

    def imported(self) -> set[str]:
        """Every module that the process has imported so far."""
        lines = self.log.read_text(encoding="utf-8").splitlines()
        return {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")}

    def stop(self) -> int:
        self._process.terminate()
        code = self._process.wait(_SECONDS)
        self._do(self._worker.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_SECONDS)
        self._loop.close()
        self._listening.close()
        return code

    def _started(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-X", "importtime", "-m", "fewtune.service.web"]
        descriptor = self._listening.fileno()
        with self.log.open("wb") as log:
            return subprocess.Popen(
                [*command, "--socket", str(descriptor)],
                env={**os.environ, VARIABLE: self.settings.to_json()},
                pass_fds=[descriptor],
                stderr=log,
            )

    def _do(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(_SECONDS)
