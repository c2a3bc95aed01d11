"""Jobs over HTTP, as far as the web process goes: it writes them down and tells of them."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

from fewtune.store.queue import Queue
from fewtune.store.service_database import open_service_database
from service.web import Web

JOBS = "/v1/fine_tuning/jobs"


def test_a_job_is_told_as_it_was_asked_for(web: Web) -> None:
    file, valid = web.file(), web.file()
    answer = web.create_job(
        training_file=file,
        validation_file=valid,
        seed=7,
        suffix="My Parcels!",
        metadata={"team": "a"},
        integrations=[{"type": "wandb", "wandb": {"project": "p", "tags": ["t"]}}],
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 3, "batch_size": "auto"}}},
    )
    told = answer.json
    numbers = {"batch_size": "auto", "learning_rate_multiplier": "auto", "n_epochs": 3}
    assert told["id"].startswith("ftjob-") and told["object"] == "fine_tuning.job"
    assert (told["status"], told["model"], told["seed"]) == ("validating_files", "pocket", 7)
    assert (told["training_file"], told["validation_file"]) == (file, valid)
    assert told["hyperparameters"] == numbers
    assert told["method"] == {"type": "supervised", "supervised": {"hyperparameters": numbers}}
    assert told["metadata"] == {"team": "a"}
    assert told["integrations"][0]["wandb"]["project"] == "p"
    assert told["result_files"] == [] and told["error"] is None and told["fine_tuned_model"] is None
    assert web.stores.jobs.get("default", told["id"]).suffix == "my-parcels"  # type: ignore[union-attr]
    assert web.ask("GET", f"{JOBS}/{told['id']}").json == told
    assert any(
        "Weights & Biases" in one["message"] for one in web.ask("GET", f"{JOBS}/{told['id']}/events").json["data"]
    )


@pytest.mark.parametrize(
    "form",
    [
        {"n_epochs": 3, "batch_size": 2, "learning_rate_multiplier": 0.5, "prompt_loss_weight": 0.1},
        {
            "hyperparameters": {
                "n_epochs": 3,
                "batch_size": 2,
                "learning_rate_multiplier": 0.5,
                "prompt_loss_weight": 0.1,
            }
        },
        {
            "n_epochs": 9,
            "hyperparameters": {"batch_size": 2, "n_epochs": 8},
            "prompt_loss_weight": 0.1,
            "method": {
                "type": "supervised",
                "supervised": {"hyperparameters": {"n_epochs": 3, "learning_rate_multiplier": 0.5}},
                "reinforcement": {"grader": {}},
            },
            "compute_classification_metrics": True,
        },
    ],
)
def test_hyperparameters_are_taken_in_every_form_there_ever_was(web: Web, form: dict[str, Any]) -> None:
    answer = web.create_job(**form)
    record = web.stores.jobs.get("default", answer.json["id"])
    assert record
    asked = {"n_epochs": 3, "batch_size": 2, "learning_rate_multiplier": 0.5, "prompt_loss_weight": 0.1}
    assert record.hyperparameters == asked
    assert answer.json["hyperparameters"]["n_epochs"] == 3


def test_preferences_keep_their_beta(web: Web) -> None:
    told = web.create_job(method={"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.2}}}).json
    assert told["method"]["dpo"]["hyperparameters"]["beta"] == 0.2
    assert "beta" not in told["hyperparameters"]


@pytest.mark.parametrize(
    ("values", "code", "param"),
    [
        ({"method": {"type": "reinforcement"}}, "unsupported_method", "method.type"),
        ({"method": {"type": "other"}}, "invalid_value", "method.type"),
        ({"method": {}}, "missing_required_parameter", "method.type"),
        ({"model": "gpt-4o-minl"}, "model_not_found", "model"),
        ({"training_file": "file-abc"}, "file_not_found", "training_file"),
        ({"validation_file": "../x"}, "file_not_found", "validation_file"),
        ({"seed": -1}, "invalid_value", "seed"),
        ({"seed": "7"}, "invalid_value", "seed"),
        ({"seed": True}, "invalid_value", "seed"),
        ({"suffix": "x" * 65}, "invalid_value", "suffix"),
        ({"n_epochs": 51}, "invalid_value", "n_epochs"),
        ({"hyperparameters": {"n_epochs": "three"}}, "invalid_value", "hyperparameters.n_epochs"),
        ({"batch_size": 0}, "invalid_value", "batch_size"),
        (
            {"method": {"type": "dpo", "dpo": {"hyperparameters": {"beta": 3}}}},
            "invalid_value",
            "method.dpo.hyperparameters.beta",
        ),
        ({"metadata": {str(number): "x" for number in range(17)}}, "invalid_value", "metadata"),
        ({"metadata": {"a": 1}}, "invalid_type", "metadata.a"),
        ({"integrations": [{"type": "mlflow"}]}, "invalid_value", "integrations[0].type"),
        ({"model": ""}, "invalid_value", "model"),
        ({"model": "x" * 300}, "invalid_value", "model"),
    ],
)
def test_a_job_that_cannot_be_is_refused_with_its_parameter(
    web: Web, values: dict[str, Any], code: str, param: str
) -> None:
    before = web.stores.jobs.waiting()
    answer = web.create_job(**values)
    assert (answer.status, answer.error["param"]) == (400, param)
    assert (
        answer.error["code"] in (code, "invalid_type", "too_long") and answer.error["type"] == "invalid_request_error"
    )
    assert web.stores.jobs.waiting() == before


def test_an_unknown_model_is_answered_with_the_nearest_names(web: Web) -> None:
    message = web.create_job(model="gpt-4o-minl-2024-07-18").error["message"]
    assert "'gpt-4o-mini-2024-07-18'" in message


def test_a_file_for_something_else_is_not_trained_on(web: Web) -> None:
    file = web.file(purpose="assistants", name="a.txt")
    assert web.create_job(training_file=file).error["code"] == "invalid_file_purpose"


def test_an_alias_is_shown_in_header_and_event(web: Web) -> None:
    answer = web.create_job(model="gpt-4o-mini-2024-07-18")
    assert answer.headers["fewtune-model-alias"] == "gpt-4o-mini-2024-07-18=pocket"
    assert answer.json["model"] == "gpt-4o-mini-2024-07-18"
    job = answer.json["id"]
    assert web.ask("GET", f"{JOBS}/{job}").headers["fewtune-model-alias"] == "gpt-4o-mini-2024-07-18=pocket"
    messages = [event["message"] for event in web.ask("GET", f"{JOBS}/{job}/events").json["data"]]
    assert f"Created fine-tuning job: {job}" in messages
    assert any("gpt-4o-mini-2024-07-18" in message and "pocket" in message for message in messages)
    assert "fewtune-model-alias" not in web.create_job().headers


def test_an_earlier_fine_tune_is_what_a_job_starts_from(web: Web) -> None:
    web.stores.models.add(name="ft:pocket:us::earlier", project="default", base="pocket", kind="tuned")
    record = web.stores.jobs.get("default", web.job(model="ft:pocket:us::earlier"))
    assert record and (record.base, record.parent) == ("pocket", "ft:pocket:us::earlier")


def test_the_same_create_tried_again_is_the_same_job(web: Web) -> None:
    file = web.file()
    first = web.create_job(training_file=file)
    again = web.create_job(training_file=file, headers={"x-stainless-retry-count": "1"})
    other = web.create_job(training_file=file)
    assert first.json["id"] == again.json["id"] != other.json["id"]


def test_an_idempotency_key_names_one_job_and_one_body(web: Web) -> None:
    file, headers = web.file(), {"Idempotency-Key": "mine"}
    first = web.create_job(training_file=file, headers=headers)
    assert web.create_job(training_file=file, headers=headers).json["id"] == first.json["id"]
    changed = web.create_job(training_file=file, seed=1, headers=headers)
    assert changed.status == 400 and changed.error["code"]


def test_the_list_is_paged_and_kept_to_what_was_asked(web: Web) -> None:
    file = web.file()
    mine = [web.job(training_file=file, metadata={"round": "7", "n": str(number)}) for number in range(3)]
    with OpenAI(base_url=web.address, api_key=web.key) as client:
        assert [job.id for job in client.fine_tuning.jobs.list(metadata={"round": "7"}, limit=1)] == mine[::-1]
        assert [job.id for job in client.fine_tuning.jobs.list(metadata={"round": "7", "n": "1"})] == [mine[1]]
        assert not list(client.fine_tuning.jobs.list(metadata={"round": "8"}))
    assert web.ask("GET", f"{JOBS}?" + "&".join(f"metadata[{n}]=a" for n in range(20))).status == 400


def test_cancel_pause_and_resume_can_be_said_twice(web: Web) -> None:
    job = web.job()
    for action, status in (
        ("pause", "queued"),
        ("pause", "queued"),
        ("resume", "validating_files"),
        ("resume", "validating_files"),
        ("cancel", "cancelled"),
        ("cancel", "cancelled"),
        ("pause", "cancelled"),
    ):
        answer = web.ask("POST", f"{JOBS}/{job}/{action}")
        assert (answer.status, answer.json["status"]) == (200, status), action
    assert web.ask("GET", f"{JOBS}/{job}").json["finished_at"]


def test_a_job_that_is_not_there_is_a_404_everywhere(web: Web) -> None:
    for method, path in (
        ("GET", ""),
        ("GET", "/events"),
        ("GET", "/events?stream=true"),
        ("GET", "/checkpoints"),
        ("POST", "/cancel"),
        ("POST", "/pause"),
        ("POST", "/resume"),
    ):
        for job in ("ftjob-nothing", "..%2f..%2fetc", "x" * 500):
            answer = web.ask(method, f"{JOBS}/{job}{path}")
            assert (answer.status, answer.error["code"]) == (
                404,
                "fine_tune_not_found" if "%2f" not in job else "unknown_url",
            )


def test_what_a_worker_did_is_told(web: Web) -> None:
    job = web.job()
    queue = Queue(open_service_database(web.folder / "service.db"))
    claim = next(one for one in queue.claim("w", seconds=60, limit=1000) if one.job == job)
    chosen = {"n_epochs": 4, "batch_size": 2, "learning_rate_multiplier": 1.5}
    queue.stage(claim, "train", state="running", plan={"plan": {}, "hyperparameters": chosen})
    queue.checkpoint(claim, 8, "ft:pocket:us::x:ckpt-step-8", {"step": 8, "train_loss": 0.5, "valid_loss": None})
    queue.event(claim, "Step 8", type="metrics", data={"step": 8, "train_loss": 0.5})
    assert web.ask("GET", f"{JOBS}/{job}").json["hyperparameters"] == chosen
    checkpoint = web.ask("GET", f"{JOBS}/{job}/checkpoints").json["data"][0]
    assert (checkpoint["step_number"], checkpoint["fine_tuning_job_id"]) == (8, job)
    assert (checkpoint["metrics"]["train_loss"], checkpoint["metrics"]["valid_loss"]) == (0.5, None)
    queue.end(claim, "failed", error={"code": "invalid_training_file", "message": "Line 3.", "param": "training_file"})
    told = web.ask("GET", f"{JOBS}/{job}").json
    assert (told["status"], told["error"]["param"]) == ("failed", "training_file")
    newest = web.ask("GET", f"{JOBS}/{job}/events?limit=50").json["data"]
    assert any(event["data"] == {"step": 8, "train_loss": 0.5} and event["type"] == "metrics" for event in newest)


def test_a_stream_of_events_tells_all_in_order_and_ends_with_the_job(web: Web) -> None:
    job = web.job()
    told: list[Any] = []
    listening = threading.Thread(target=lambda: told.append(web.ask("GET", f"{JOBS}/{job}/events?stream=true")))
    listening.start()
    time.sleep(0.2)
    web.ask("POST", f"{JOBS}/{job}/pause")
    web.ask("POST", f"{JOBS}/{job}/cancel")
    listening.join(20)
    assert told[0].headers["content-type"].startswith("text/event-stream")
    lines = [line.removeprefix("data: ") for line in told[0].body.decode().split("\n\n") if line]
    messages = [json.loads(line)["message"] for line in lines[:-1]]
    assert messages == [f"Created fine-tuning job: {job}", "The job was paused.", "The job was cancelled."]
    assert lines[-1] == "[DONE]"
    assert not web.stores.open_streams


def test_too_many_waiting_jobs_and_too_quick_creating_are_a_429_with_a_time(tmp_path: Path) -> None:
    web = Web(tmp_path, limits={"waiting_jobs": 2, "creations_per_minute": 8, "event_streams": 1})
    try:
        file = web.file()
        job = web.job(training_file=file)
        first = web.create_job(training_file=file, seed=1)
        full = web.create_job(training_file=file)
        assert (full.status, full.error["type"]) == (429, "rate_limit_error")
        assert 1 <= int(full.headers["retry-after"]) <= 120
        repeated = web.create_job(training_file=file, seed=1, headers={"x-stainless-retry-count": "1"})
        assert repeated.json["id"] == first.json["id"], "a repeated request is no new job"
        assert web.ask("POST", f"{JOBS}/{job}/cancel").status == 200
        statuses = [web.create_job(training_file=file).status for _ in range(6)]
        assert statuses[0] == 200 and statuses[-1] == 429
        assert web.ask("GET", JOBS).status == 200, "reading is not counted"
        assert web.create_job(key=web.other_key, training_file="x").status == 400, "another key has its own count"
        web.stores.open_streams.add(object())
        assert web.ask("GET", f"{JOBS}/{job}/events?stream=true").status == 429
    finally:
        web.stop()
