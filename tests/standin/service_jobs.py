"""Jobs for tests of the service's store."""

from __future__ import annotations

import hashlib
from typing import Any

from fewtune.store.job_records import JobRecord, NewJob
from fewtune.store.jobs import Jobs


def new_job(**values: Any) -> NewJob:
    plain: dict[str, Any] = {
        "project": "red",
        "key_id": "key_1",
        "model": "pocket",
        "base": "pocket",
        "method": "supervised",
        "training_file": "file-1",
        "hyperparameters": {"n_epochs": "auto"},
        "seed": 7,
    }
    return NewJob(**{**plain, **values})


def create(
    jobs: Jobs,
    body: str = "body",
    *,
    key: str | None = None,
    retried: bool = False,
    most_waiting: int | None = None,
    **values: Any,
) -> JobRecord:
    digest = hashlib.sha256(body.encode()).hexdigest()
    new = new_job(**values)
    return jobs.create(new, idempotency_key=key, body_sha256=digest, retried=retried, most_waiting=most_waiting)
