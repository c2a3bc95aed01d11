"""Jobs that are whole sweeps: a process of their own, whose winner becomes the job's model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from standin.service_workers import PROJECT, Asking, Service, chat_lines, wait_for

OPTIONS = {"fewtune.sweep": '{"epochs": "1,2", "learning_rate": "1e-3,3e-3", "folds": 0, "no_refit": true}'}


@pytest.mark.slow
def test_a_sweep_tells_its_points_and_its_verdict_and_its_winner_becomes_the_model(service: Service) -> None:
    service.start()
    job = service.job(chat_lines(30), chat_lines(6, first=100), metadata=OPTIONS)
    record = service.wait(job, seconds=120)
    assert record.state == "succeeded", record.error
    assert record.plan and record.plan["hyperparameters"]["n_epochs"] in (1, 2)
    events = service.events(job)
    trials = {event.data["trial"] for event in events if event.data and "trial" in event.data}
    assert len(trials) == 2
    assert sum(event.data is not None and "chosen" in event.data for event in events) == 1
    with Asking(service) as asking:
        asking.ask(1, "What?", name=str(record.fine_tuned_model))
        assert asking.end(1)["kind"] == "answers"


def test_a_sweep_with_an_option_that_it_does_not_take_fails_at_once(service: Service) -> None:
    service.start()
    error = service.wait(service.job(chat_lines(30), metadata={"fewtune.sweep": '{"out": "/tmp/x"}'})).error
    assert error and (error["code"], error["param"]) == ("invalid_sweep", "metadata")


@pytest.mark.slow
def test_a_sweep_that_is_paused_and_whose_worker_is_killed_goes_on(opened: Callable[..., Service]) -> None:
    service = opened(provider="local")
    service.start()
    job = service.job(chat_lines(30), chat_lines(6, first=100), metadata=OPTIONS)
    service.wait_for_message(job, "validation loss=", seconds=300)
    service.archive.jobs.pause(PROJECT, job)
    service.wake()
    service.wait(job, lambda record: record.state == "queued")
    service.archive.jobs.resume(PROJECT, job)
    service.wake()
    service.wait(job, lambda record: record.state == "running", seconds=300)
    service.kill()
    service.start()
    record = service.wait(job, seconds=600)
    assert record.state == "succeeded", record.error
    model = service.archive.models.get(PROJECT, str(record.fine_tuned_model))
    assert model and (Path(model.folder) / "adapter_model.safetensors").exists()
    wait_for(lambda: True if not service.archive.job_folder(job).exists() else None, seconds=20)
