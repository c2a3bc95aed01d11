from __future__ import annotations

import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError

from fewtune.errors import QuotaError, UsageError
from fewtune.store.jobs import Jobs
from fewtune.store.queue import Queue
from fewtune.store.service_database import open_service_database, writing
from fewtune.store.service_schema import creations
from standin.clock import Clock
from standin.service_jobs import create, new_job


def messages(jobs: Jobs, job: str) -> list[str]:
    return [one.message for one in jobs.events("red", job).items][::-1]


def test_a_new_job_is_what_was_asked_for_and_waits_to_be_validated(jobs: Jobs) -> None:
    asked = {
        "validation_file": "file-2",
        "parent": "ft:pocket:org::abc",
        "suffix": "ö\u202e",
        "metadata": {"team": "a\x00\ud800"},
        "integrations": [{"type": "wandb", "wandb": {"project": "p"}}],
        "alias": "gpt-4o-mini-2024-07-18",
    }
    job = create(jobs, **asked)
    assert jobs.get("red", job.id) == job
    assert {name: getattr(job, name) for name in vars(new_job())} == vars(new_job(**asked))
    assert (job.state, job.stage, job.attempts, job.result_files) == ("validating_files", "validate", 0, [])
    assert (job.finished_at, job.error, job.fine_tuned_model, job.trained_tokens) == (None,) * 4
    created, mapped, kept = messages(jobs, job.id)
    assert created == f"Created fine-tuning job: {job.id}"
    assert "gpt-4o-mini-2024-07-18" in mapped and "pocket" in mapped
    assert "Nothing is sent to Weights & Biases" in kept


def test_numbers_rise_by_one(jobs: Jobs) -> None:
    assert [create(jobs, str(one)).number for one in range(4)] == [1, 2, 3, 4]


def test_one_idempotency_key_is_one_job_for_a_day(jobs: Jobs, clock: Clock) -> None:
    first = create(jobs, key="k")
    clock.pass_by(24 * 3600 - 1)
    assert create(jobs, key="k") == first
    with pytest.raises(UsageError, match="Idempotency-Key was used for another request"):
        create(jobs, "other body", key="k")
    others = [create(jobs, key="k", key_id="key_2"), create(jobs, key="k2"), create(jobs)]
    assert len({first.id, *(one.id for one in others)}) == 4
    clock.pass_by(1)
    assert create(jobs, key="k").id != first.id


def test_the_same_idempotency_key_cannot_name_two_jobs(jobs: Jobs) -> None:
    job = create(jobs, key="k")
    values = {"key_id": "key_1", "idempotency_key": "k", "body_sha256": "0", "job": job.id, "created_at": 0.0}
    with pytest.raises(IntegrityError), writing(jobs._engine) as connection:
        connection.execute(insert(creations).values(**values, first_is_missing=False))


def test_what_the_client_sends_again_is_the_same_job_for_ten_minutes(jobs: Jobs, clock: Clock) -> None:
    first = create(jobs)
    assert create(jobs, retried=True) == first
    clock.pass_by(599)
    assert create(jobs, retried=True) == first
    assert create(jobs, "other body", retried=True).id != first.id
    assert create(jobs, retried=True, key_id="key_2").id != first.id
    clock.pass_by(1)
    assert create(jobs, retried=True).id != first.id


def test_what_is_asked_for_twice_on_purpose_is_two_jobs_and_a_retry_is_the_newer(jobs: Jobs) -> None:
    first, second = create(jobs), create(jobs)
    assert first.id != second.id
    assert create(jobs, retried=True) == second


def test_a_first_attempt_that_its_own_retry_overtook_is_the_same_job(jobs: Jobs, clock: Clock) -> None:
    retry = create(jobs, retried=True)
    assert create(jobs) == retry
    assert create(jobs).id != retry.id, "only one attempt was missing"
    late = create(jobs, "late", retried=True)
    clock.pass_by(61)
    assert create(jobs, "late").id != late.id


def test_a_hundred_identical_retries_at_once_make_one_job(jobs: Jobs) -> None:
    barrier = Barrier(20)

    def attempt(number: int) -> str:
        if number < 20:
            barrier.wait()
        return create(jobs, retried=number != 7).id

    with ThreadPoolExecutor(20) as threads:
        made = set(threads.map(attempt, range(100)))
    assert len(made) == 1
    assert [one.id for one in jobs.list("red").items] == list(made)


def test_processes_that_open_a_new_database_at_once_and_race_with_the_same_keys_make_one_job_of_each(
    where: str | Path,
) -> None:
    code = """
import sys
from fewtune.store.jobs import Jobs
from fewtune.store.service_database import open_service_database
from standin.service_jobs import create
engine = open_service_database(sys.argv[1])
for number in range(10):
    print(create(Jobs(engine), str(number), key=str(number)).id)
engine.dispose()
"""
    command = [sys.executable, "-c", f"import sys; sys.path[:0] = {sys.path!r}\n{code}", str(where)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    told = [process.communicate(timeout=100)[0].split() for process in processes]
    assert told[0] == told[1] == told[2]
    assert len(set(told[0])) == 10
    engine = open_service_database(where)
    assert [one.id for one in Jobs(engine).list("red").items] == told[0][::-1]
    engine.dispose()


def test_a_project_may_have_so_many_waiting_jobs(jobs: Jobs, queue: Queue) -> None:
    first = create(jobs, "a", most_waiting=2)
    create(jobs, "b", most_waiting=2)
    with pytest.raises(QuotaError, match="2 waiting jobs"):
        create(jobs, "c", most_waiting=2)
    assert create(jobs, "a", retried=True, most_waiting=2) == first, "a job that is there needs no room"
    create(jobs, "c", project="blue", most_waiting=2)
    assert jobs.waiting() == 3 and jobs.waiting("red") == 2
    queue.claim("w", seconds=30)
    assert jobs.waiting("red") == 1
    create(jobs, "c", most_waiting=2)


def test_the_limit_holds_for_threads_that_create_at_once(jobs: Jobs) -> None:
    def attempt(number: int) -> bool:
        try:
            create(jobs, str(number), most_waiting=5)
        except QuotaError:
            return False
        return True

    with ThreadPoolExecutor(16) as threads:
        assert sum(threads.map(attempt, range(40))) == 5
    assert jobs.waiting("red") == 5


def test_a_job_is_its_projects_alone(jobs: Jobs) -> None:
    job = create(jobs)
    assert jobs.get("blue", job.id) is None
    for change in (jobs.cancel, jobs.pause, jobs.resume):
        assert change("blue", job.id) is None
    assert jobs.list("blue").items == [] and jobs.events("blue", job.id).items == []
    assert jobs.get("red", job.id) == job


def test_cancelling_a_waiting_job_ends_it_at_once_and_once(jobs: Jobs, queue: Queue, clock: Clock) -> None:
    job = create(jobs)
    clock.pass_by(5)
    ended = jobs.cancel("red", job.id)
    assert ended is not None and (ended.state, ended.stage) == ("cancelled", "done")
    assert ended.finished_at == ended.created_at + 5
    clock.pass_by(5)
    for change in (jobs.cancel, jobs.pause, jobs.resume):
        assert change("red", job.id) == ended
    assert messages(jobs, job.id)[1:] == ["The job was cancelled."]
    assert queue.claim("w", seconds=30) == []


def test_a_waiting_job_that_is_paused_is_queued_and_nobodys_until_it_is_resumed(jobs: Jobs, queue: Queue) -> None:
    job = create(jobs)
    for _ in range(2):
        paused = jobs.pause("red", job.id)
        assert paused is not None and paused.paused and paused.state == "queued"
    assert queue.claim("w", seconds=30) == []
    for _ in range(2):
        resumed = jobs.resume("red", job.id)
        assert resumed is not None and not resumed.paused
    assert messages(jobs, job.id)[1:] == ["The job was paused.", "The job was resumed."]
    assert [claim.job for claim in queue.claim("w", seconds=30)] == [job.id]


def test_the_wishes_for_a_held_job_are_told_to_its_worker(jobs: Jobs, queue: Queue, clock: Clock) -> None:
    job = create(jobs)
    (claim,) = queue.claim("w", seconds=30)
    queue.stage(claim, "train", state="running")
    assert queue.renew([claim], seconds=30) == {job.id: "go"}
    held = jobs.pause("red", job.id)
    assert held is not None and held.paused and held.state == "running"
    assert queue.renew([claim], seconds=30) == {job.id: "pause"}
    jobs.resume("red", job.id)
    assert queue.renew([claim], seconds=30) == {job.id: "go"}
    cancelling = jobs.cancel("red", job.id)
    assert cancelling is not None and cancelling.cancelling and cancelling.state == "running"
    jobs.pause("red", job.id)
    assert queue.renew([claim], seconds=30) == {job.id: "cancel"}
    queue.end(claim, "cancelled")
    found = jobs.get("red", job.id)
    assert found is not None and found.state == "cancelled" and not found.paused


def test_jobs_are_found_by_all_of_their_metadata(jobs: Jobs) -> None:
    one = create(jobs, "1", metadata={"team": "a", "run": "1"})
    two = create(jobs, "2", metadata={"team": "a"})
    create(jobs, "3")
    assert [job.id for job in jobs.list("red", metadata={"team": "a"}).items] == [two.id, one.id]
    assert [job.id for job in jobs.list("red", metadata={"team": "a", "run": "1"}).items] == [one.id]
    assert jobs.list("red", metadata={"team": "1"}).items == []
    assert len(jobs.list("red").items) == 3


def test_events_and_checkpoints_come_newest_first_and_in_pages(jobs: Jobs, queue: Queue) -> None:
    job = create(jobs)
    (claim,) = queue.claim("w", seconds=30)
    for step in range(1, 6):
        queue.event(claim, f"Step {step}", type="metrics", data={"step": step, "train_loss": float("nan")})
        queue.checkpoint(claim, step, f"m:ckpt-step-{step}", {"train_loss": step / 2})
    page = jobs.events("red", job.id, limit=2)
    assert [one.message for one in page.items] == ["Step 5", "Step 4"] and page.has_more
    assert page.items[0].data == {"step": 5, "train_loss": None}
    rest = jobs.events("red", job.id, after=page.items[-1].id, limit=100)
    assert [one.message for one in rest.items][:3] == ["Step 3", "Step 2", "Step 1"] and not rest.has_more
    checkpoints = jobs.checkpoints("red", job.id, limit=2)
    assert [one.step for one in checkpoints.items] == [5, 4] and checkpoints.has_more
    assert checkpoints.items[0].metrics == {"train_loss": 2.5}
    last = jobs.checkpoints("red", job.id, after=checkpoints.items[-1].id)
    assert [one.step for one in last.items] == [3, 2, 1]


def test_retries_in_any_order_and_number_never_make_a_second_job(jobs: Jobs) -> None:
    orders = random.Random(0)
    for wish in range(30):
        attempts = [False, *[True] * orders.randint(0, 2)]
        orders.shuffle(attempts)
        made = {create(jobs, str(wish), retried=retried).id for retried in attempts}
        assert len(made) == 1
    assert len(jobs.list("red", limit=100).items) == 30
