from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from service.scripted_service import ScriptedService
from service.web import Web
from standin.service_process import ServiceProcess


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScriptedService]:
    service = ScriptedService(tmp_path_factory.mktemp("service"))
    yield service
    service.stop()


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    service = Web(tmp_path_factory.mktemp("web"))
    yield service
    service.stop()


@pytest.fixture(scope="session")
def live_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """`fewtune serve` with the provider `fake`; what it has logged by the end is looked at."""
    running = ServiceProcess(tmp_path_factory.mktemp("service"), "--provider", "fake")
    yield running
    assert running.stop() == 0
    log = running.log.read_text(encoding="utf-8")
    assert all(json.loads(line)["level"] == "info" for line in log.splitlines()), log
    assert running.key not in log
    assert "parcel" not in log, "neither a prompt nor a suffix"
