"""Workers that are killed, paused, stopped, or out of space: nothing is lost, and nothing is done twice."""

from __future__ import annotations

import resource
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from fewtune.service.settings import ServiceSettings
from service.killing import check_all, kill_at_random
from standin.service_workers import PROJECT, Service, chat_lines, open_service, wait_for

LONG = {"n_epochs": 40, "batch_size": 1, "learning_rate_multiplier": 0.0001}


@pytest.mark.parametrize("kills", [12, pytest.param(500, marks=pytest.mark.slow)])
def test_a_worker_that_is_killed_at_any_moment_loses_nothing_and_does_nothing_twice(
    opened: Callable[..., Service], kills: int
) -> None:
    service = opened(lease_seconds=0.2, renewal_seconds=0.05, most_attempts=1000)
    jobs: list[str] = []

    def more() -> Sequence[str]:
        made = [
            service.job(
                chat_lines(10 + 2 * number, first=100 * number),
                chat_lines(3, first=100 * number + 50),
                hyperparameters={"n_epochs": 2, "batch_size": 2},
            )
            for number in range(3)
        ]
        jobs.extend(made)
        return made

    kill_at_random(service, more, kills, seed=kills, longest=0.6)
    check_all(service, jobs)


@pytest.mark.slow
def test_a_training_that_is_killed_twenty_times_ends_in_the_same_model_bit_for_bit(tmp_path: Path) -> None:
    adapters: list[bytes] = []
    for name, kills in (("undisturbed", 0), ("killed", 20)):
        settings = ServiceSettings(
            folder=tmp_path / name, lease_seconds=0.5, renewal_seconds=0.1, most_attempts=100, minimum_examples=1
        )
        service = open_service(settings)
        try:
            plan = {"n_epochs": 12, "batch_size": 4}
            job = service.job(chat_lines(8), chat_lines(2, first=50), hyperparameters=plan, seed=7)
            if kills:
                kill_at_random(service, lambda job=job: [job], kills, seed=1, longest=6.0)
            else:
                service.start()
            check_all(service, [job])
            model = service.archive.models.get(PROJECT, str(service.record(job).fine_tuned_model))
            assert model is not None
            adapters.append((model.folder / "adapter_model.safetensors").read_bytes())
        finally:
            service.stop()
    assert adapters[0] == adapters[1]


def test_a_worker_that_is_told_to_stop_saves_and_gives_its_jobs_back(service: Service) -> None:
    service.start()
    job = service.job(chat_lines(10), hyperparameters=LONG)
    service.wait_for_message(job, "Step 5/")
    service.stop()
    record = service.record(job)
    assert (record.state, record.stage, record.attempts) == ("queued", "train", 0)
    assert service.workers[0].exitcode == 0
    service.start()
    service.wait(job)
    check_all_steps(service, job)


def test_a_paused_job_waits_in_the_queue_until_it_is_resumed(service: Service) -> None:
    service.start()
    job = service.job(chat_lines(10), hyperparameters=LONG)
    service.wait_for_message(job, "Step 5/")
    began = time.monotonic()
    service.archive.jobs.pause(PROJECT, job)
    service.wake()
    service.wait(job, lambda record: record.state == "queued")
    assert time.monotonic() - began < 5
    told = len(service.events(job))
    other = service.wait(service.job(chat_lines(10, first=50), hyperparameters={"n_epochs": 1}))
    assert other.state == "succeeded" and len(service.events(job)) == told
    service.archive.jobs.resume(PROJECT, job)
    service.wake()
    assert service.wait(job).state == "succeeded"
    check_all_steps(service, job)


@pytest.mark.parametrize("moment", ["Validating training file", "Fine-tuning job started", "Step 7/"])
def test_a_job_is_cancelled_at_any_stage_and_leaves_nothing_but_what_was_told(service: Service, moment: str) -> None:
    service.start()
    job = service.job(chat_lines(100), hyperparameters={**LONG, "n_epochs": 10})
    other = service.job(chat_lines(10, first=1000), hyperparameters={"n_epochs": 2})
    service.wait_for_message(job, moment)
    service.archive.jobs.cancel(PROJECT, job)
    service.wake()
    record = service.wait(job, seconds=20)
    assert (record.state, record.fine_tuned_model, record.error) == ("cancelled", None, None)
    assert service.wait(other).state == "succeeded"
    told = len(service.events(job))
    wait_for(lambda: True if not _folders(service, job) else None, seconds=20)
    assert len(service.events(job)) == told


def test_what_a_job_left_that_was_cancelled_while_nobody_held_it_is_removed(service: Service) -> None:
    folder = service.archive.workspace("pocket")
    job = service.job(chat_lines(10))
    (folder / job).mkdir(parents=True)
    service.archive.jobs.cancel(PROJECT, job)
    service.start()
    wait_for(lambda: True if not (folder / job).exists() else None, seconds=20)


def test_where_the_disk_is_full_the_job_rests_and_goes_on_by_itself(opened: Callable[..., Service]) -> None:
    service = opened(disk_full_seconds=0.5)
    service.before = _small_files
    service.start()
    job = service.job(chat_lines(20, padding=500_000), hyperparameters={"n_epochs": 1})
    service.wait_for_message(job, "The disk is full")
    record = service.wait(job, lambda record: record.not_before > 0 and record.state == "queued")
    assert record.error is None
    time.sleep(1.5)
    assert sum("disk is full" in message for message in service.messages(job)) == 1
    service.kill()
    service.before = None
    service.start()
    assert service.wait(job).state == "succeeded"
    assert any("has resumed" in message for message in service.messages(job))


def check_all_steps(service: Service, job: str) -> None:
    steps = [event.data["step"] for event in service.events(job) if event.type == "metrics" and event.data]
    assert steps == list(range(1, steps[-1] + 1))


def _folders(service: Service, job: str) -> list[Any]:
    return [path for path in service.settings.folder.rglob(job) if path.is_dir()]


def _small_files() -> None:
    """Enough for the database and its log, too little for what the fake provider keeps of 10 MB of rows."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8_000_000, 8_000_000))
