"""Which metrics a run is judged by: the task's, the user's own, and which one decides."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import fewtune
from fewtune.errors import UsageError
from fewtune.experiment.progress import Note, Progress, Training
from fewtune.report.summary import Summary

QUICK: dict[str, Any] = {"provider": "fake", "epochs": 1, "batch_size": 8, "learning_rate": 1e-3}


def brevity(answer: str, expected: str) -> float:
    """How short it is."""
    return 1 / (1 + len(answer))


def line(summary: Summary, name: str) -> Any:
    assert summary.evaluation is not None
    return next(one for one in summary.evaluation.metrics if one.name == name)


def test_a_function_is_a_metric_in_every_system_and_can_decide(few_rows: Path) -> None:
    run = fewtune.run(few_rows, **QUICK, metrics=[brevity], primary="brevity", rivals="base")
    assert all("brevity" in system.metrics for system in run.summary.systems)
    assert line(run.summary, "brevity").own and line(run.summary, "brevity").meaning == "How short it is."
    assert run.summary.evaluation is not None and run.summary.evaluation.primary == "brevity"
    assert "brevity" in run.summary.verdict
    assert "--primary brevity" in run.summary.command
    assert all("brevity" in (one.details["tuned"].metrics or {}) for one in run.summary.predictions)


def test_a_metric_that_was_mended_is_measured_again_without_training(few_rows: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    values: list[float] = []
    for value in (1, 2):
        path.write_text(f"def mine(answer, expected):\n    return {value}\n", encoding="utf-8")
        seen: list[Progress] = []
        run = fewtune.run(few_rows, **QUICK, metrics=[f"{path}:mine"], watch=seen.append)
        values.append(next(one.metrics["mine"].value for one in run.summary.systems if one.name == "tuned"))
        assert any(isinstance(event, Training) for event in seen) == (value == 1)
    assert values == [1, 2]
    assert f"--metric {path}:mine" in run.summary.command


def test_another_metric_is_the_same_run_judged_again(few_rows: Path) -> None:
    plain = fewtune.run(few_rows, **QUICK)
    other = fewtune.run(few_rows, **QUICK, primary="valid_json")
    assert other.id == plain.id
    assert other.summary.evaluation is not None and other.summary.evaluation.primary == "valid_json"
    assert fewtune.run(few_rows, **QUICK).summary.verdict == plain.summary.verdict


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"primary": "nonsense"}, "no metric 'nonsense'"),
        ({"primary": "perplexity", "task": "text"}, "not compared"),
        ({"metrics": ["nowhere:f"]}, "could not be loaded"),
        ({"metrics": [brevity, lambda answer, expected: 1, len]}, "cannot be called"),
        ({"task": "images"}, "no task 'images'"),
        ({"json_schema": "none.json"}, "read the JSON schema"),
        ({"json_schema": "none.json", "task": "text"}, "the task is text"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_is_trained(
    options: dict[str, Any], words: str, few_rows: Path
) -> None:
    seen: list[Progress] = []
    with pytest.raises(UsageError, match=words):
        fewtune.run(few_rows, **QUICK, **options, watch=seen.append)
    assert not [event for event in seen if isinstance(event, Training)]


def test_a_metric_named_like_a_known_one_is_refused(few_rows: Path) -> None:
    @fewtune.metric(name="exact_match")
    def mine(answer: str, expected: str) -> float:
        return 1

    with pytest.raises(UsageError, match="already"):
        fewtune.run(few_rows, **QUICK, metrics=[mine])


def test_the_task_that_is_named_goes_before_what_the_rows_look_like(few_rows: Path) -> None:
    run = fewtune.run(few_rows, **QUICK, task="text")
    assert run.summary.data.task == "text"
    assert run.summary.evaluation is not None and run.summary.evaluation.asked
    assert "--task text" in run.summary.command
    assert "chrf" in run.summary.systems[0].metrics
    assert fewtune.run(few_rows, **QUICK).id != run.id


def test_json_is_held_to_the_shape_of_the_training_rows_or_of_a_given_schema(few_rows: Path, tmp_path: Path) -> None:
    inferred = fewtune.run(few_rows, **QUICK).summary
    assert "training answers" in line(inferred, "schema_valid").meaning
    schema = tmp_path / "schema.json"
    schema.write_text(json.dumps({"required": ["nothing has it"]}), encoding="utf-8")
    given = fewtune.run(few_rows, **QUICK, json_schema=schema).summary
    assert "was given" in line(given, "schema_valid").meaning
    assert {one.metrics["schema_valid"].value for one in given.systems} == {0.0}
    assert given.evaluation is not None
    assert {one.path for one in given.evaluation.fields["tuned"]} >= {"item", "quantity"}


def test_labels_are_scored_one_by_one_for_an_answer_within_the_set(examples_folder: Path) -> None:
    run = fewtune.run(examples_folder / "tickets.csv", **QUICK)
    assert run.summary.evaluation is not None
    tables = run.summary.evaluation.labels
    assert set(tables) == {system.name for system in run.summary.systems}
    rows = run.summary.systems[0].rows
    assert all(sum(one.rows for one in tables[name].calibration) == rows for name in ("base", "tuned"))
    assert all("constrained_accuracy" in system.metrics for system in run.summary.systems)


def test_too_many_labels_are_not_scored_and_that_is_said(tmp_path: Path) -> None:
    path = tmp_path / "many.csv"
    rows = [f"question {row} about {row % 60},label {row % 60}" for row in range(480)]
    path.write_text("prompt,completion\n" + "\n".join(rows) + "\n", encoding="utf-8")
    seen: list[Progress] = []
    run = fewtune.run(path, **QUICK, no_repair=["near_duplicate"], test=60, watch=seen.append)
    assert any("too many to score" in event.text for event in seen if isinstance(event, Note))
    assert "constrained_accuracy" not in run.summary.systems[0].metrics


def test_a_run_resumed_in_another_process_finds_its_metric_again(few_rows: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("def mine(answer, expected):\n    return 1\n", encoding="utf-8")
    run = fewtune.run(few_rows, **QUICK, metrics=[f"{path}:mine"])
    assert "mine" in fewtune.resume(run.id).summary.systems[0].metrics
    path.unlink()
    with pytest.raises(UsageError, match="no file"):
        fewtune.resume(run.id)
