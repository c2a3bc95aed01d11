"""Logs, health and numbers of the web process, over its real application."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from fewtune.service.app import create_app
from fewtune.service.observing import Numbers, Observed
from fewtune.service.settings import ServiceSettings
from fewtune.store.jobs import NewJob
from fewtune.store.keys import Keys
from fewtune.store.service_database import open_service_database, writing

HERE, ELSEWHERE = "127.0.0.1", "192.0.2.7"
PROMPT = "the lamplighter's debt"


@pytest.fixture
def settings(tmp_path: Path) -> ServiceSettings:
    return ServiceSettings(folder=tmp_path, provider="fake")


@pytest.fixture
def key(settings: ServiceSettings) -> str:
    engine = open_service_database(settings.store)
    secret = Keys(engine).create("tests", "parcels")[1]
    engine.dispose()
    return secret


@pytest.fixture
def app(settings: ServiceSettings, key: str) -> Iterator[FastAPI]:
    made = create_app(settings)
    yield made
    made.state.stores.engine.dispose()


def ask(app: FastAPI, path: str, *, method: str = "GET", client: str = HERE, **options: Any) -> httpx.Response:
    """One request, as it comes from the address `client`."""

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app, client=(client, 50000))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8484") as session:
            return await session.request(method, path, **options)

    return asyncio.run(send())


def bearing(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def numbers(app: FastAPI) -> dict[tuple[str, tuple[str, ...]], float]:
    """By name and values of the labels."""
    families = text_string_to_metric_families(ask(app, "/metrics").text)
    return {(one.name, tuple(one.labels.values())): one.value for family in families for one in family.samples}


def test_a_request_is_logged_by_its_route_with_key_and_project_and_without_what_it_says(
    app: FastAPI, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    answer = ask(app, f"/v1/files/{PROMPT}?after={PROMPT}", headers=bearing(key))
    assert answer.status_code == 404
    (record,) = [one for one in caplog.records if one.name == "fewtune.requests"]
    assert record.message == "GET /v1/files/{file_id}: 404"
    told = record.told  # type: ignore[attr-defined]
    assert told.pop("ms") >= 0
    assert told.pop("key").startswith("key_")
    assert told == {
        "request": answer.headers["x-request-id"],
        "method": "GET",
        "route": "/v1/files/{file_id}",
        "status": 404,
        "project": "parcels",
    }
    ours = "\n".join(str(vars(one)) for one in caplog.records if one.name != "httpx")
    assert "lamplighter" not in ours and key not in ours


def test_requests_are_counted_by_route_and_status_however_many_paths_are_tried(app: FastAPI, key: str) -> None:
    ask(app, "/v1/files", headers=bearing(key))
    ask(app, "/v1/files")
    for number in range(3):
        ask(app, f"/v1/nothing/{number}", headers=bearing(key))
        ask(app, "/v1/files", method=f"INVENT{number}", headers=bearing(key))
    found = {labels: value for (name, labels), value in numbers(app).items() if name == "fewtune_requests_total"}
    assert found["GET", "/v1/files", "200"] == 1
    assert found["GET", "unmatched", "401"] == 1
    assert found["GET", "unmatched", "404"] == 3
    assert found["OTHER", "/v1/files", "405"] == 3
    assert len(found) == 4


def test_the_numbers_tell_jobs_by_state_and_room_on_the_disk(app: FastAPI, settings: ServiceSettings) -> None:
    job = NewJob(
        project="parcels",
        key_id="key",
        model="pocket",
        base="pocket",
        method="supervised",
        training_file="file",
        hyperparameters={},
        seed=0,
    )
    for number in range(2):
        app.state.stores.jobs.create(job, idempotency_key=None, body_sha256=str(number), retried=False)
    found = numbers(app)
    assert found["fewtune_jobs", ("validating_files",)] == 2
    assert found["fewtune_disk_free_bytes", ()] > 0
    assert found["fewtune_workers_connected", ()] == 0


@pytest.mark.parametrize(
    ("client", "headers", "status"),
    [
        (HERE, {}, 200),
        ("::1", {}, 200),
        (ELSEWHERE, {}, 401),
        (HERE, {"x-forwarded-for": ELSEWHERE}, 401),
        (HERE, {"forwarded": f"for={ELSEWHERE}"}, 401),
        (ELSEWHERE, {"authorization": "Bearer sk-fewtune-wrong"}, 401),
    ],
)
def test_the_numbers_are_for_this_machine(app: FastAPI, client: str, headers: dict[str, str], status: int) -> None:
    assert ask(app, "/metrics", client=client, headers=headers).status_code == status


def test_the_numbers_are_for_whoever_has_a_key(app: FastAPI, key: str) -> None:
    assert ask(app, "/metrics", client=ELSEWHERE, headers=bearing(key)).status_code == 200


def test_it_is_healthy_and_not_ready_without_a_worker(app: FastAPI) -> None:
    assert ask(app, "/healthz", client=ELSEWHERE).json() == {"status": "ok"}
    answer = ask(app, "/readyz", client=ELSEWHERE)
    assert (answer.status_code, answer.json()) == (503, {"status": "unavailable", "database": True, "workers": 0})


def test_it_is_not_ready_where_the_database_takes_no_writes(app: FastAPI) -> None:
    with writing(app.state.stores.engine) as connection:
        connection.execute(
            text("CREATE TRIGGER full BEFORE UPDATE ON schema_version BEGIN SELECT raise(FAIL, 'full'); END")
        )
    assert ask(app, "/readyz").json()["database"] is False


def test_a_client_that_goes_away_before_its_answer_is_counted_as_499(app: FastAPI) -> None:
    noted = Numbers(app.state.stores.engine, app.state.stores.settings.folder, app.state.workers)

    async def leaving(*_: object) -> None:
        raise asyncio.CancelledError

    async def nothing(*_: object) -> dict[str, str]:
        return {}

    async def call() -> None:
        with suppress(asyncio.CancelledError):
            await Observed(leaving, noted)({"type": "http", "method": "GET", "path": "/"}, nothing, nothing)

    asyncio.run(call())
    labels = {"method": "GET", "route": "unmatched", "status": "499"}
    assert noted.registry.get_sample_value("fewtune_requests_total", labels) == 1
    assert noted.registry.get_sample_value("fewtune_requests_in_flight") == 0
