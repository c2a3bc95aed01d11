"""The supervisor with a real web process and workers: whoever is killed is there again, whoever is orphaned ends."""

from __future__ import annotations

import http.client
import os
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from fewtune.errors import UsageError
from fewtune.service.settings import ServiceSettings
from fewtune.service.supervisor import Supervisor, bind
from standin.processes import forkserver
from standin.service_workers import chat_lines, fake_settings, open_service, wait_for


@dataclass(kw_only=True)
class Supervised:
    process: BaseProcess
    port: int

    def get(self, path: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        finally:
            connection.close()

    def child(self, name: str) -> int:
        """Process id of the child that runs this module."""
        return wait_for(lambda: next((pid for pid in self.children() if name in _command(pid)), None))

    def children(self) -> list[int]:
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in path.read_text().split()] if path.exists() else []


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[Supervised]:
    settings = fake_settings(tmp_path / "service", grace_seconds=2.0)
    settings.folder.mkdir()
    with bind("127.0.0.1", 0) as listening:
        process = forkserver().Process(target=_supervise, args=(settings.to_json(), listening))
        process.start()
        found = Supervised(process=process, port=listening.getsockname()[1])
        yield found
        if process.is_alive():
            process.terminate()
        process.join(60)


def test_whose_parts_are_killed_goes_on_and_when_told_to_stop_saves_and_ends_well(
    supervised: Supervised, tmp_path: Path
) -> None:
    assert supervised.get("/healthz") == 200
    web, worker = supervised.child("fewtune.service.web"), supervised.child("fewtune.service.worker")
    service = open_service(fake_settings(tmp_path / "service"))
    job = service.job(chat_lines(10), hyperparameters={"n_epochs": 100, "batch_size": 1})
    service.wait_for_message(job, "Step 3/")
    for killed in (web, worker):
        os.kill(killed, signal.SIGKILL)
    # It waits in the listening socket until there is a web process again.
    assert supervised.get("/healthz") == 200
    told = len(service.events(job))
    wait_for(lambda: True if len(service.events(job)) > told else None)
    children = supervised.children()
    assert len(children) == 2 and not {web, worker} & set(children)
    supervised.process.terminate()
    supervised.process.join(60)
    assert supervised.process.exitcode == 0
    assert not [pid for pid in children if _lives(pid)]
    assert service.record(job).state == "queued"


def test_children_whose_supervisor_is_killed_end_by_themselves(supervised: Supervised) -> None:
    assert supervised.get("/healthz") == 200
    supervised.child("fewtune.service.worker")
    children = supervised.children()
    assert len(children) == 2
    supervised.process.kill()
    wait_for(lambda: True if not any(map(_lives, children)) else None, seconds=10)


def test_an_address_that_is_taken_is_told(tmp_path: Path) -> None:
    with bind("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        with pytest.raises(UsageError, match="cannot listen") as refused:
            bind("127.0.0.1", port)
    assert refused.value.where == f"127.0.0.1:{port}"


def test_settings_travel_whole(tmp_path: Path) -> None:
    settings = ServiceSettings(folder=tmp_path, bases=("a",), aliases={"x": "b"}, limits={"depth": 3}, port=1)
    assert ServiceSettings.from_json(settings.to_json()) == settings
    assert settings.all_bases == ("pocket", "a", "b")


def _supervise(settings: str, listening: socket.socket) -> None:
    Supervisor(ServiceSettings.from_json(settings), listening).run()


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
