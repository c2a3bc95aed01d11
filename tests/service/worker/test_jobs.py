"""Jobs from the queue to the model, by a worker process that really runs."""

from __future__ import annotations

import csv
import json
from typing import Any

import pytest

from standin.service_workers import PROJECT, Asking, Service, chat_lines, wait_for

SLOW_ENOUGH = {"n_epochs": 12, "batch_size": 1, "learning_rate_multiplier": 0.0001}
"""With a few dozen rows this keeps the fake provider busy for a second."""


def test_a_job_goes_from_the_queue_to_a_model_that_answers(service: Service) -> None:
    service.start()
    job = service.job(chat_lines(20), chat_lines(6, first=100), hyperparameters={"n_epochs": 4}, suffix="mine")
    record = service.wait(job)
    assert (record.state, record.stage, record.error) == ("succeeded", "done", None)
    assert record.fine_tuned_model == f"ft:pocket:fewtune:mine:{job[-8:]}"
    assert record.plan and record.plan["hyperparameters"] == {
        "n_epochs": 4,
        "batch_size": 4,
        "learning_rate_multiplier": 1.0,
    }
    assert record.trained_tokens and record.finished_at
    with Asking(service) as asking:
        asking.ask(1, "What does it say?", name=record.fine_tuned_model)
        assert asking.end(1)["text"].startswith("It is")


def test_events_tell_the_story_in_the_words_of_openai(service: Service) -> None:
    service.start()
    job = service.job(chat_lines(20), chat_lines(6, first=100), hyperparameters={"n_epochs": 2})
    record = service.wait(job)
    told = service.messages(job)
    assert told[:5] == [
        f"Created fine-tuning job: {job}",
        f"Validating training file: {record.training_file}",
        f"Validating validation file: {record.validation_file}",
        "Files validated, moving job to queued state",
        "Fine-tuning job started",
    ]
    assert told[5].startswith("Step 1/10: training loss=")
    assert "full validation loss=" in told[9]
    assert told[-2:] == ["New fine-tuned model created", "The job has successfully completed"]
    metrics = [event.data or {} for event in service.events(job) if event.type == "metrics"]
    assert [data["step"] for data in metrics] == list(range(1, 11))
    assert metrics[-1].keys() == {
        "step",
        "total_steps",
        "train_loss",
        "train_mean_token_accuracy",
        "valid_loss",
        "valid_mean_token_accuracy",
        "full_valid_loss",
        "full_valid_mean_token_accuracy",
    }


def test_the_checkpoints_of_the_last_three_epochs_are_kept_and_answer(service: Service) -> None:
    service.start()
    job = service.job(chat_lines(12), hyperparameters={"n_epochs": 5, "batch_size": 4})
    record = service.wait(job)
    kept = service.archive.jobs.checkpoints(PROJECT, job).items
    assert [one.step for one in kept] == [15, 12, 9]
    assert kept[0].model == f"{record.fine_tuned_model}:ckpt-step-15"
    assert kept[0].metrics["train_loss"] > 0
    with Asking(service) as asking:
        asking.ask(1, "What?", name=kept[2].model)
        assert asking.end(1)["kind"] == "answers"


def test_each_checkpoint_is_kept_where_that_is_asked_for(opened: Any) -> None:
    service = opened(kept_checkpoints=None)
    service.start()
    job = service.job(chat_lines(12), hyperparameters={"n_epochs": 5, "batch_size": 4})
    service.wait(job)
    assert len(service.archive.jobs.checkpoints(PROJECT, job).items) == 5


def test_the_result_file_has_the_columns_of_openai_and_a_line_for_each_step(service: Service) -> None:
    service.start()
    job = service.job(chat_lines(12), chat_lines(3, first=50), hyperparameters={"n_epochs": 2, "batch_size": 4})
    (id,) = service.wait(job).result_files
    file = service.archive.files.get(PROJECT, id)
    assert file and file.purpose == "fine-tune-results"
    rows = list(csv.DictReader(service.archive.files.path(file).read_text().splitlines()))
    assert list(rows[0]) == ["step", "train_loss", "train_accuracy", "valid_loss", "valid_mean_token_accuracy"]
    assert [row["step"] for row in rows] == ["1", "2", "3", "4", "5", "6"]
    assert [bool(row["valid_loss"]) for row in rows] == [False, False, True, False, False, True]


@pytest.mark.parametrize(
    ("training", "validation", "code", "param", "said"),
    [
        (chat_lines(10) + b"nonsense\n", None, "invalid_training_file", "training_file", "Line 11"),
        (chat_lines(9), None, "invalid_n_examples", "training_file", "9 usable examples"),
        (chat_lines(10), b'{"messages": []}\n', "invalid_validation_file", "validation_file", "Line 1"),
        (chat_lines(10), b"\n", "invalid_n_examples", "validation_file", "at least 1"),
    ],
)
def test_a_file_that_cannot_be_used_fails_the_job_as_openai_does(
    service: Service, training: bytes, validation: bytes | None, code: str, param: str, said: str
) -> None:
    service.start()
    record = service.wait(service.job(training, validation))
    assert record.state == "failed" and record.error
    assert (record.error["code"], record.error["param"]) == (code, param)
    assert said in record.error["message"]


def test_a_training_file_that_was_deleted_fails_the_job(service: Service) -> None:
    file = service.file(chat_lines(10))
    job = service.job(file)
    service.archive.files.delete(PROJECT, file)
    service.start()
    error = service.wait(job).error
    assert error and error["code"] == "invalid_training_file"


def test_validation_rows_that_were_trained_on_are_a_warning(service: Service) -> None:
    service.start()
    job = service.job(chat_lines(12), chat_lines(4, first=10))
    assert service.wait(job).state == "succeeded"
    (warning,) = [event for event in service.events(job) if event.level == "warn"]
    assert warning.data == {"rows": 2, "lines": [1, 2]} and "2 of 4" in warning.message


def test_what_tuning_changed_is_told_with_its_interval_and_of_one_row_that_it_cannot_be(service: Service) -> None:
    service.start()
    several = service.job(chat_lines(20), chat_lines(8, first=50), hyperparameters={"learning_rate_multiplier": 0.01})
    single = service.job(chat_lines(20), chat_lines(1, first=50))
    for job, told in ((several, "95 % interval"), (single, "cannot be told")):
        service.wait(job)
        assert any(told in message for message in service.messages(job))


def test_several_jobs_train_side_by_side(service: Service) -> None:
    jobs = [service.job(chat_lines(12, first=20 * n), hyperparameters=SLOW_ENOUGH) for n in range(3)]
    service.start()
    with _asking(service) as asking:
        wait_for(lambda: _training(asking) if len(_training(asking)) == 3 else None)
    assert [service.wait(job).state for job in jobs] == ["succeeded"] * 3


def test_no_more_jobs_are_taken_than_are_trained_at_once(opened: Any) -> None:
    service = opened(jobs_at_once=1)
    jobs = [service.job(chat_lines(10, first=20 * n), hyperparameters={"n_epochs": 2}) for n in range(3)]
    service.start()
    ends = [service.wait(job) for job in jobs]
    assert [record.state for record in ends] == ["succeeded"] * 3
    began = [_moment(service, job, "Fine-tuning job started") for job in jobs]
    assert began == sorted(began)


def test_a_tuned_model_is_tuned_further_even_when_it_is_deleted_meanwhile(service: Service) -> None:
    service.start()
    first = service.wait(service.job(chat_lines(10), hyperparameters={"n_epochs": 1})).fine_tuned_model
    assert first
    file = service.file(chat_lines(12, first=50))
    second = service.job(file, hyperparameters=SLOW_ENOUGH, model=first, parent=first, suffix="again")
    service.wait_for_message(second, "Step 1/")
    service.archive.models.delete(PROJECT, first)
    service.kill()
    service.start()
    record = service.wait(second)
    assert record.state == "succeeded"
    assert record.fine_tuned_model == f"ft:pocket:fewtune:again:{second[-8:]}"
    with Asking(service) as asking:
        asking.ask(1, "What?", name=record.fine_tuned_model)
        assert asking.end(1)["kind"] == "answers"


def test_a_model_that_is_gone_before_the_job_began_fails_it(service: Service) -> None:
    job = service.job(chat_lines(10), model="ft:pocket:x::1", parent="ft:pocket:x::1")
    service.start()
    error = service.wait(job).error
    assert error and error["code"] == "model_not_found"


def test_a_worker_that_dies_again_and_again_over_a_job_fails_it_and_no_other(opened: Any) -> None:
    service = opened(most_attempts=2)
    job = service.job(chat_lines(10))
    for _ in range(2):
        service.archive.queue.claim("a worker that dies", seconds=0)
    service.start()
    error = service.wait(job).error
    assert error and error["code"] == "worker_died"
    assert service.wait(service.job(chat_lines(10))).state == "succeeded"


def test_nothing_of_an_ended_job_is_left_but_its_models(service: Service) -> None:
    service.start()
    job = service.job(chat_lines(10), hyperparameters={"n_epochs": 1})
    service.wait(job)
    left = [path.name for path in service.settings.folder.rglob("*") if path.is_dir()]
    assert job not in left


def test_dpo_is_trained_on_preferences(service: Service) -> None:
    service.start()
    lines = [
        {
            "input": {"messages": [{"role": "user", "content": f"Question {number}"}]},
            "preferred_output": [{"role": "assistant", "content": f"Good {number}"}],
            "non_preferred_output": [{"role": "assistant", "content": f"Bad {number}"}],
        }
        for number in range(10)
    ]
    content = "".join(json.dumps(line) + "\n" for line in lines).encode()
    record = service.wait(service.job(content, method="dpo", hyperparameters={"beta": 0.3, "n_epochs": 1}))
    assert record.state == "succeeded" and record.plan
    assert record.plan["hyperparameters"]["beta"] == 0.3
    assert record.plan["plan"]["preference_beta"] == 0.3


def test_legacy_prompt_and_completion_files_are_taken(service: Service) -> None:
    service.start()
    lines = b"".join(json.dumps({"prompt": f"p{n} ->", "completion": f" c{n}"}).encode() + b"\n" for n in range(10))
    job = service.job(lines, hyperparameters={"n_epochs": 1, "prompt_loss_weight": 0.01})
    record = service.wait(job)
    assert record.state == "succeeded" and record.plan
    assert record.plan["plan"]["prompt_loss_weight"] == 0.01


def _asking(service: Service) -> Asking:
    wait_for(lambda: True if (service.settings.folder / "worker-0.sock").exists() else None)
    return Asking(service)


def _training(asking: Asking) -> list[str]:
    asking.tell({"status": 1})
    return asking.hear()["training"]


def _moment(service: Service, job: str, message: str) -> int:
    return next(place for place, event in enumerate(_all(service)) if event == (job, message))


def _all(service: Service) -> list[tuple[str, str]]:
    from sqlalchemy import text

    with service.archive.jobs._engine.connect() as connection:  # pyright: ignore[reportPrivateUsage]
        rows = connection.execute(text("SELECT job, message FROM events ORDER BY number"))
        return [(row.job, row.message) for row in rows]
