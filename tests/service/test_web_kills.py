"""A web process that is killed at any moment: what it acknowledged is there, once, and the database is whole."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random

import pytest

from fewtune.service.settings import ServiceSettings
from fewtune.service.web import serve
from fewtune.store.keys import Keys
from fewtune.store.service_database import open_service_database
from standin.processes import forkserver
from standin.service_workers import PROJECT, Service, chat_lines, fake_settings, open_service

_CREATORS = 4
_PATIENCE = 60.0


@dataclass(kw_only=True)
class Web:
    """The web process behind a socket that outlives it, as the supervisor's does."""

    service: Service
    listening: socket.socket
    key: str
    process: BaseProcess | None = None

    def start(self) -> None:
        log = str(self.service.settings.folder / "web.log")
        arguments = (self.service.settings.to_json(), log, self.listening)
        self.process = forkserver().Process(target=_be_web, args=arguments)
        self.process.start()

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.join()

    def post(self, path: str, body: dict[str, object], *, retries: int) -> dict[str, object] | None:
        """None where no answer came, or one that says to try again."""
        connection = HTTPConnection("127.0.0.1", self.listening.getsockname()[1], timeout=_PATIENCE)
        headers = {"Authorization": f"Bearer {self.key}", "x-stainless-retry-count": str(retries)}
        try:
            connection.request("POST", f"/v1{path}", json.dumps(body), {**headers, "Content-Type": "application/json"})
            answer = connection.getresponse()
            told = json.loads(answer.read())
        except (OSError, HTTPException, ValueError):
            return None
        finally:
            connection.close()
        assert answer.status in (200, 503), told
        return told if answer.status == 200 else None


@dataclass(kw_only=True)
class Creators:
    """Clients that create jobs one after the other, each until it is acknowledged."""

    web: Web
    file: str
    acknowledged: dict[str, str] = field(default_factory=dict[str, str])
    """Job by the number that its metadata holds."""
    retried: int = 0
    over: threading.Event = field(default_factory=threading.Event)

    def run(self, name: int) -> None:
        number = 0
        while not self.over.is_set():
            number += 1
            self._create(f"{name}-{number}")

    def _create(self, number: str) -> None:
        method = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 1, "batch_size": 5}}}
        body = {"training_file": self.file, "model": "pocket", "metadata": {"number": number}, "method": method}
        for retries in range(1000):
            told = self.web.post("/fine_tuning/jobs", body, retries=retries)
            if told is not None:
                self.acknowledged[number] = str(told["id"])
                self.retried += retries > 0
                return
        raise AssertionError("nobody answers")


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    limits = {"waiting_jobs": 1_000_000, "creations_per_minute": 1_000_000}
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        port = listening.getsockname()[1]
        service = open_service(fake_settings(tmp_path / "service", limits=limits, port=port))
        engine = open_service_database(service.settings.store)
        key = Keys(engine).create("kills")[1]
        engine.dispose()
        found = Web(service=service, listening=listening, key=key)
        yield found
        found.kill()
        service.stop()


@pytest.mark.parametrize("kills", [4, pytest.param(500, marks=pytest.mark.slow)])
def test_a_web_process_that_is_killed_at_any_moment_loses_no_job_and_makes_none_twice(web: Web, kills: int) -> None:
    creators, random = Creators(web=web, file=web.service.file(chat_lines(10))), Random(kills)
    web.start()
    threads = [threading.Thread(target=creators.run, args=(name,)) for name in range(_CREATORS)]
    for thread in threads:
        thread.start()
    for _ in range(kills):
        known = len(creators.acknowledged)
        while len(creators.acknowledged) == known:
            time.sleep(0.01)
        time.sleep(random.uniform(0, 0.2))
        web.kill()
        web.start()
    creators.over.set()
    for thread in threads:
        thread.join(_PATIENCE)
    assert creators.retried, "no kill came between a request and its answer"
    _check_made_once(web.service, creators.acknowledged)
    web.service.start()
    for job in list(creators.acknowledged.values())[:3]:
        assert web.service.wait(job).state == "succeeded"


def _check_made_once(service: Service, acknowledged: dict[str, str]) -> None:
    made: dict[str, str] = {}
    after: str | None = None
    while True:
        page = service.archive.jobs.list(PROJECT, after=after, limit=100)
        for record in page.items:
            number = str((record.metadata or {})["number"])
            assert number not in made, f"{number} was made twice"
            made[number] = after = record.id
        if not page.has_more:
            break
    assert made == acknowledged
    with closing(sqlite3.connect(service.settings.folder / "service.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def _be_web(settings: str, log: str, listening: socket.socket) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 2)
    serve(ServiceSettings.from_json(settings), listening)
