from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from fewtune.errors import LostLease
from fewtune.store.jobs import Jobs
from fewtune.store.queue import Claim, Queue
from standin.clock import Clock
from standin.service_jobs import create


def take(queue: Queue, worker: str = "w", limit: int = 1) -> list[str]:
    return [claim.job for claim in queue.claim(worker, seconds=30, limit=limit)]


def test_the_oldest_job_is_taken_first_and_by_one_worker(jobs: Jobs, queue: Queue) -> None:
    made = [create(jobs, str(one)).id for one in range(3)]
    assert take(queue, "a") == made[:1]
    assert take(queue, "b", limit=5) == made[1:]
    assert take(queue, "a") == []


def test_a_project_with_jobs_in_hand_stands_behind_one_with_none(jobs: Jobs, queue: Queue) -> None:
    many = [create(jobs, str(one), project="many").id for one in range(4)]
    few = [create(jobs, str(one), project="few").id for one in range(2)]
    assert take(queue, limit=3) == [many[0], few[0], many[1]]
    assert take(queue, limit=3) == [few[1], many[2], many[3]]


def test_threads_that_claim_at_once_share_the_jobs(jobs: Jobs, queue: Queue) -> None:
    made = [create(jobs, str(one)).id for one in range(24)]
    with ThreadPoolExecutor(8) as threads:
        taken = [job for jobs in threads.map(lambda one: take(queue, str(one), 2), range(16)) for job in jobs]
    assert sorted(taken) == sorted(made)


def test_the_job_of_a_dead_worker_is_taken_over_when_its_lease_has_run_out(
    jobs: Jobs, queue: Queue, clock: Clock
) -> None:
    job = create(jobs).id
    (first,) = queue.claim("a", seconds=30)
    queue.stage(first, "train", state="running", plan={"epochs": 2})
    clock.pass_by(29)
    assert queue.renew([first], seconds=30) == {job: "go"}
    clock.pass_by(29)
    assert take(queue, "b") == []
    clock.pass_by(1)
    (second,) = queue.claim("b", seconds=30)
    assert (second.job, second.fence > first.fence) == (job, True)
    taken = queue.job(second)
    assert (taken.stage, taken.state, taken.plan, taken.attempts) == ("train", "running", {"epochs": 2}, 2)


LATE: dict[str, Callable[[Queue, Claim], object]] = {
    "event": lambda queue, claim: queue.event(claim, "late", once="late"),
    "stage": lambda queue, claim: queue.stage(claim, "evaluate", trained_tokens=1),
    "checkpoint": lambda queue, claim: queue.checkpoint(claim, 1, "m", {}),
    "end": lambda queue, claim: queue.end(claim, "succeeded", fine_tuned_model="m"),
    "cancelled": lambda queue, claim: queue.end(claim, "cancelled"),
    "release": lambda queue, claim: queue.release(claim, paused=True),
    "job": lambda queue, claim: queue.job(claim),
}


def test_a_late_worker_changes_nothing(jobs: Jobs, queue: Queue, clock: Clock) -> None:
    job = create(jobs).id
    (first,) = queue.claim("a", seconds=30)
    clock.pass_by(30)
    queue.claim("b", seconds=30)
    before = jobs.get("red", job), jobs.events("red", job), jobs.checkpoints("red", job)
    for late in LATE.values():
        with pytest.raises(LostLease, match=f"{job} is no longer held by a"):
            late(queue, first)
    assert queue.renew([first], seconds=99) == {job: "lost"}
    assert (jobs.get("red", job), jobs.events("red", job), jobs.checkpoints("red", job)) == before
    clock.pass_by(30)
    assert take(queue, "c") == [job], "the late one has not prolonged it either"


@pytest.mark.parametrize("over", ["ended", "released", "cancelled"])
def test_nothing_is_written_after_a_job_was_let_go(jobs: Jobs, queue: Queue, clock: Clock, over: str) -> None:
    job = create(jobs).id
    (claim,) = queue.claim("a", seconds=30)
    if over == "ended":
        queue.end(claim, "failed", error={"code": "c", "message": "m", "param": None})
    elif over == "released":
        queue.release(claim)
    else:
        clock.pass_by(30)
        jobs.cancel("red", job)
    before = jobs.get("red", job)
    for late in LATE.values():
        with pytest.raises(LostLease):
            late(queue, claim)
    assert queue.renew([claim], seconds=30) == {job: "lost"}
    assert jobs.get("red", job) == before


def test_a_lease_that_ran_out_and_that_nobody_took_is_still_good(jobs: Jobs, queue: Queue, clock: Clock) -> None:
    job = create(jobs).id
    (claim,) = queue.claim("a", seconds=30)
    clock.pass_by(100)
    queue.event(claim, "still here")
    assert queue.renew([claim], seconds=30) == {job: "go"}
    assert take(queue, "b") == []


def test_what_is_told_twice_stands_there_once(jobs: Jobs, queue: Queue) -> None:
    job = create(jobs).id
    (claim,) = queue.claim("a", seconds=30)
    assert queue.event(claim, "Step 1", once="step-1", data={"loss": 1.0})
    assert not queue.event(claim, "Step 1 again", once="step-1", data={"loss": 2.0})
    assert queue.event(claim, "said") and queue.event(claim, "said")
    for loss in (1.0, 2.0):
        queue.checkpoint(claim, 3, "m:ckpt-step-3", {"loss": loss})
    told = [one.message for one in jobs.events("red", job).items]
    assert told == ["said", "said", "Step 1", f"Created fine-tuning job: {job}"]
    assert [one.metrics for one in jobs.checkpoints("red", job).items] == [{"loss": 1.0}]


def test_a_job_ends_with_what_it_made(jobs: Jobs, queue: Queue, clock: Clock) -> None:
    job = create(jobs).id
    (claim,) = queue.claim("a", seconds=30)
    queue.stage(claim, "train", state="running", trained_tokens=10, estimated_finish=int(clock()) + 60)
    clock.pass_by(10)
    queue.end(claim, "succeeded", fine_tuned_model="ft:m", result_files=["file-r"])
    ended = jobs.get("red", job)
    assert ended is not None
    assert (ended.state, ended.stage, ended.finished_at) == ("succeeded", "done", int(clock()))
    assert (ended.fine_tuned_model, ended.result_files, ended.trained_tokens) == ("ft:m", ["file-r"], 10)
    assert ended.estimated_finish is None and ended.error is None
    assert queue.ended([job, "ftjob-none"]) == {job}
    clock.pass_by(1000)
    assert take(queue) == []


def test_a_failed_job_says_why(jobs: Jobs, queue: Queue) -> None:
    job = create(jobs).id
    (claim,) = queue.claim("a", seconds=30)
    error = {"code": "invalid_training_file", "message": "line 3", "param": "training_file"}
    queue.end(claim, "failed", error=error)
    ended = jobs.get("red", job)
    assert ended is not None and (ended.state, ended.error) == ("failed", error)


def test_a_job_that_is_given_back_waits_for_its_moment(jobs: Jobs, queue: Queue, clock: Clock) -> None:
    job = create(jobs).id
    (claim,) = queue.claim("a", seconds=30)
    queue.stage(claim, "train", state="running")
    queue.release(claim, not_before=clock() + 60)
    given_back = jobs.get("red", job)
    assert given_back is not None and (given_back.state, given_back.stage, given_back.attempts) == (
        "queued",
        "train",
        0,
    )
    assert take(queue) == []
    clock.pass_by(60)
    assert take(queue) == [job]


def test_resuming_a_job_that_waits_for_its_moment_lets_it_be_taken_now(jobs: Jobs, queue: Queue, clock: Clock) -> None:
    job = create(jobs).id
    (claim,) = queue.claim("a", seconds=30)
    queue.release(claim, not_before=clock() + 60)
    jobs.resume("red", job)
    assert take(queue) == [job]


def test_a_resume_that_comes_while_the_worker_saves_is_not_lost(jobs: Jobs, queue: Queue) -> None:
    job = create(jobs).id
    (claim,) = queue.claim("a", seconds=30)
    jobs.pause("red", job)
    assert queue.renew([claim], seconds=30) == {job: "pause"}
    jobs.resume("red", job)
    queue.release(claim)
    assert take(queue) == [job]


def test_a_pause_ends_in_the_queue_whether_the_worker_saves_or_dies(jobs: Jobs, queue: Queue, clock: Clock) -> None:
    saved, died, own = (create(jobs, str(one)).id for one in range(3))
    claims = {claim.job: claim for claim in queue.claim("a", seconds=30, limit=3)}
    for claim in claims.values():
        queue.stage(claim, "train", state="running")
    jobs.pause("red", saved)
    jobs.pause("red", died)
    queue.release(claims[saved])
    queue.release(claims[own], paused=True)
    clock.pass_by(30)
    for job in (saved, died, own):
        found = jobs.get("red", job)
        assert found is not None and (found.state, found.paused) == ("queued", True)
    assert take(queue, limit=3) == []
    for job in (saved, died, own):
        jobs.resume("red", job)
    assert take(queue, limit=3) == [saved, died, own]


def test_a_job_that_was_to_be_cancelled_ends_whether_the_worker_lets_go_or_dies(
    jobs: Jobs, queue: Queue, clock: Clock
) -> None:
    released, died = (create(jobs, str(one)).id for one in range(2))
    claims = {claim.job: claim for claim in queue.claim("a", seconds=30, limit=2)}
    for job in (released, died):
        jobs.cancel("red", job)
    queue.release(claims[released])
    clock.pass_by(30)
    assert take(queue, limit=2) == []
    for job in (released, died):
        found = jobs.get("red", job)
        assert found is not None and found.state == "cancelled" and found.finished_at is not None
        assert jobs.events("red", job).items[0].message == "The job was cancelled."


def test_a_worker_that_writes_nonsense_is_stopped(jobs: Jobs, queue: Queue) -> None:
    create(jobs)
    (claim,) = queue.claim("a", seconds=30)
    for values in ({"project": "blue"}, {"state": "paused"}):
        with pytest.raises(ValueError, match="a stage does not tell"):
            queue.stage(claim, "train", **values)
    with pytest.raises(ValueError, match="does not end as running"):
        queue.end(claim, "running")
    assert queue.renew([], seconds=30) == {}
