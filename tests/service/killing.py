"""Kills a service's worker at moments that a seed chooses, and says whether anything was lost or done twice."""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from random import Random

from standin.service_workers import ENDED, PROJECT, Service

_ONCE = (
    "Created fine-tuning job",
    "Files validated",
    "Fine-tuning job started",
    "New fine-tuned model created",
    "The job has successfully completed",
    "On ",
)
"""Beginnings of messages that a job has once each."""


def kill_at_random(
    service: Service, jobs: Callable[[], Sequence[str]], kills: int, *, seed: int, longest: float
) -> None:
    """So many SIGKILLs of worker 0, each followed by a new one; `jobs` makes new ones where all have ended."""
    random, open_ = Random(seed), list(jobs())
    service.start()
    for _ in range(kills):
        time.sleep(random.uniform(0, longest))
        service.kill()
        service.start()
        open_ = [job for job in open_ if service.record(job).state not in ENDED] or list(jobs())


def check_all(service: Service, jobs: Sequence[str]) -> None:
    """Every acknowledged job has succeeded, once, with everything that belongs to it; the database is whole."""
    for job in jobs:
        record = service.wait(job, seconds=120)
        assert record.state == "succeeded", record.error
        _check_events(service, job)
        _check_left(service, job)
    if service.settings.database is None:
        with closing(sqlite3.connect(service.settings.folder / "service.db")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def _check_events(service: Service, job: str) -> None:
    events = service.events(job)
    steps = [event.data["step"] for event in events if event.type == "metrics" and event.data]
    total = next(event.data["total_steps"] for event in events if event.type == "metrics" and event.data)
    assert steps == list(range(1, total + 1)), f"{job}: steps are missing, twice, or in another order"
    twice = [text for text, count in Counter(event.message for event in events).items() if count > 1]
    assert not twice, f"{job}: told more than once: {twice}"
    for beginning in _ONCE:
        assert sum(event.message.startswith(beginning) for event in events) == 1, f"{job}: {beginning}"


def _check_left(service: Service, job: str) -> None:
    record = service.record(job)
    assert record.fine_tuned_model is not None
    model = service.archive.models.get(PROJECT, record.fine_tuned_model)
    assert model is not None and any(model.folder.iterdir())
    kept = service.archive.jobs.checkpoints(PROJECT, job).items
    assert len({one.step for one in kept}) == len(kept) > 0
    assert all(service.archive.models.get(PROJECT, one.model) for one in kept)
    (result,) = record.result_files
    results = [one for one in service.archive.files.list(PROJECT).items if job in one.filename]
    assert [one.id for one in results] == [result], f"{job}: more than one result file"
