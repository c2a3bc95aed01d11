"""Processes of the store are killed at any moment: nothing acknowledged is lost, and each effect is there once."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import Engine, select, text

from fewtune.store.files import Files
from fewtune.store.jobs import Jobs
from fewtune.store.models import Models
from fewtune.store.service_database import is_sqlite, reading
from fewtune.store.service_schema import events, jobs
from standin.service_kills import LOG, STEPS


@pytest.mark.parametrize("kills", [30, pytest.param(300, marks=pytest.mark.slow)])
def test_killed_processes_lose_nothing_and_do_nothing_twice(
    engine: Engine, where: str | Path, tmp_path: Path, kills: int
) -> None:
    if not is_sqlite(engine):
        # To connect to it takes a process long.
        kills //= 3
    command = [sys.executable, "-m", "standin.service_kills", str(where), str(tmp_path), str(kills)]
    paths = os.pathsep.join(path for path in sys.path if path)
    ended = subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, stderr=subprocess.PIPE, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
    _assert_each_wish_is_one_job(engine, tmp_path)
    _assert_each_job_was_done_once(engine)
    _assert_every_file_is_whole(engine, tmp_path)
    if is_sqlite(engine):
        with reading(engine) as connection:
            assert connection.execute(text("PRAGMA integrity_check")).scalars().all() == ["ok"]


def _assert_each_wish_is_one_job(engine: Engine, folder: Path) -> None:
    told = [line.split() for line in (folder / LOG).read_text().splitlines()]
    made = {job.metadata["wish"]: job for job in Jobs(engine).list("red", limit=10_000).items if job.metadata}
    assert {wish: (made[wish].id, made[wish].training_file) for wish, *_ in told} == {
        wish: (job, file) for wish, job, file in told
    }
    with reading(engine) as connection:
        count = len(connection.execute(select(jobs.c.id)).all())
    # One more may have been made whose answer nobody read.
    assert count == len(made) <= len(told) + 1


def _assert_each_job_was_done_once(engine: Engine) -> None:
    store = Jobs(engine)
    made = store.list("red", limit=10_000).items
    with reading(engine) as connection:
        told = Counter(tuple(row) for row in connection.execute(select(events.c.job, events.c.message)))
    for job in made:
        assert job.state == "succeeded"
        assert [one.step for one in store.checkpoints("red", job.id).items] == list(range(STEPS, 0, -1))
        wanted = [f"Created fine-tuning job: {job.id}", *(f"Step {step}" for step in range(1, STEPS + 1))]
        assert [told.pop((job.id, message)) for message in wanted] == [1] * (STEPS + 1)
    assert not told
    assert any(job.attempts > 1 for job in made), "no worker was killed over its job, so this tested nothing"


def _assert_every_file_is_whole(engine: Engine, folder: Path) -> None:
    files, models, made = Files(engine, folder), Models(engine, folder), Jobs(engine).list("red", limit=10_000).items
    for record in files.list("red").items:
        content = files.path(record).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (record.bytes, record.sha256)
    for job in made:
        results = files.get("red", job.result_files[0])
        assert results is not None and files.path(results).read_text() == job.id
        assert models.get("red", job.fine_tuned_model or "") is not None
    files.sweep()
    assert sorted(os.listdir(files.folder)) == sorted(one.id for one in files.list("red").items)
