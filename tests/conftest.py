"""Shared by all tests: no state outside the test's folder, no key, one thread, no network."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from standin.openai_standin import KEY, Standin

ROOT = Path(__file__).parents[1]
SHARED_DATA = ROOT.parent / "shared" / "data"


_SETTINGS = ("BASE", "PROVIDER", "ADDRESS", "SEED", "FOUR_BIT", "PRECISION")


@pytest.fixture(autouse=True)
def _apart(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test has a FEWTUNE_HOME of its own and sees no key of the user's."""
    monkeypatch.setenv("FEWTUNE_HOME", str(tmp_path_factory.mktemp("home")))
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", *(f"FEWTUNE_{name}" for name in _SETTINGS)):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def shut_sockets(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Any attempt to open a socket fails, and is told at the end even if somebody swallowed the failure."""
    attempts: list[str] = []

    def refuse(*arguments: object, **_options: object) -> None:
        attempts.append(repr(arguments))
        raise OSError("sockets are shut in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    monkeypatch.setattr(socket.socket, "bind", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    yield attempts
    assert attempts == []


@pytest.fixture
def examples_folder() -> Path:
    return ROOT / "examples"


@pytest.fixture
def doctor_who() -> Path:
    path = SHARED_DATA / "doctor_who" / "dw_synopses.csv"
    if not path.exists():
        pytest.skip("the Doctor Who data is not here (it is not part of the project)")
    return path


@pytest.fixture
def standin(monkeypatch: pytest.MonkeyPatch) -> Iterator[Standin]:
    """A running service, with the environment pointing at it."""
    service = Standin()
    monkeypatch.setenv("OPENAI_BASE_URL", service.url)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield service
    service.close()
