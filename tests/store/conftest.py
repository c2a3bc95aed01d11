"""The service's store on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from fewtune.store.jobs import Jobs
from fewtune.store.queue import Queue
from fewtune.store.service_database import open_service_database
from standin.clock import Clock
from standin.postgresql import PostgreSQL, run_postgresql


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    yield from run_postgresql()


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str | Path:
    """What `open_service_database` takes: a new one for each test."""
    if request.param == "sqlite":
        return tmp_path / "service" / "service.db"
    return request.getfixturevalue("postgresql").new_schema()


@pytest.fixture
def engine(where: str | Path) -> Iterator[Engine]:
    opened = open_service_database(where)
    yield opened
    opened.dispose()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def jobs(engine: Engine, clock: Clock) -> Jobs:
    return Jobs(engine, clock=clock)


@pytest.fixture
def queue(engine: Engine, clock: Clock) -> Queue:
    return Queue(engine, clock=clock)
