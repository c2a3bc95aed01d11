from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from fewtune.errors import UsageError
from fewtune.report import prediction_files
from fewtune.report.evaluation_part import AnswerLine
from fewtune.report.predictions import Row, document, number, predictions
from fewtune.report.summary import PredictionLine, Summary


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"))))


def of_one_row(summary: Summary, *answers: str) -> Summary:
    line = PredictionLine(source="rows.csv:2", prompt=answers[0], expected=answers[0], answers={"tuned": answers[0]})
    details = {"tuned": AnswerLine(samples=answers, metrics={"loss": 0.5})}
    return replace(summary, predictions=(replace(line, details=details),))


def test_an_older_run_without_details_still_knows_right_and_wrong(of_labels: Summary) -> None:
    found = predictions(of_labels)
    assert [row.right("tuned") for row in found.rows[:5]] == [True, False, True, True, False]
    assert [metric.name for metric in found.metrics] == ["exact_match"]


def test_free_text_without_details_has_answers_and_no_measures(summary: Summary) -> None:
    found = predictions(summary)
    assert found.metrics == () and found.rows[0].right("tuned") is None
    assert found.rows[0].answers["tuned"].samples[0].startswith("A lamplighter")


def test_the_metric_that_decides_is_the_first_one(evaluated: Summary) -> None:
    assert [metric.name for metric in predictions(evaluated).metrics] == ["exact_match", "loss"]


def test_base_prompt_and_tuned_model_are_shown_first(evaluated: Summary, summary: Summary) -> None:
    found = predictions(evaluated)
    assert found.shown == ("base", "few-shot", "tuned") and (found.subject, found.rival) == ("tuned", "few-shot")
    others = replace(summary, systems=(), predictions=(replace(summary.predictions[0], answers={"mine": "x"}),))
    found = predictions(others)
    assert found.shown == ("mine",) and (found.subject, found.rival) == ("mine", None)


def test_a_value_that_is_no_number_is_unknown() -> None:
    assert [number(value) for value in (float("nan"), float("inf"), None, 1.0, 1 / 3)] == [
        None,
        None,
        None,
        1,
        0.333333,
    ]


def test_a_document_can_be_written_whatever_is_in_it(hostile_summary: Summary) -> None:
    json.dumps(document(predictions(hostile_summary)), allow_nan=False)


@pytest.mark.parametrize("beginning", ["=", "+", "-", "@", "\t", "\r", "\n", "＝"])
def test_no_cell_of_the_csv_is_a_formula(beginning: str, summary: Summary) -> None:
    (row,) = read(prediction_files.to_csv(predictions(of_one_row(summary, f"{beginning}SUM(A1)"))))
    assert row["prompt"] == row["tuned"] == f"'{beginning}SUM(A1)"


def test_numbers_of_the_csv_stay_numbers(summary: Summary) -> None:
    changed = of_one_row(summary, "x")
    details = {"tuned": AnswerLine(samples=("x",), metrics={"loss": -0.5}, tokens=3)}
    changed = replace(changed, predictions=(replace(changed.predictions[0], details=details),))
    (row,) = read(prediction_files.to_csv(predictions(changed)))
    assert (row["tuned.loss"], row["tuned.tokens"]) == ("-0.5", "3")


def test_the_csv_leaves_out_columns_that_no_row_fills(summary: Summary, evaluated: Summary) -> None:
    (row,) = read(prediction_files.to_csv(predictions(of_one_row(summary, "x", "y"))))
    assert list(row) == ["source", "prompt", "expected", "tuned", "tuned.more_samples", "tuned.loss"]
    assert json.loads(row["tuned.more_samples"]) == ["y"]
    rows = read(prediction_files.to_csv(predictions(evaluated)))
    assert len(rows) == 60 and "tf-idf.tokens" not in rows[0] and rows[0]["tuned.stop_reason"] == "stop"


def test_json_lines_have_every_answer_as_it_was_written(evaluated: Summary) -> None:
    lines = [json.loads(line) for line in prediction_files.to_json_lines(predictions(evaluated)).splitlines()]
    assert len(lines) == 60 and lines[0]["references"] == ["shipping"]
    assert lines[0]["answers"]["tuned"] == {
        "samples": ["delivery", "delivery again"],
        "metrics": {"exact_match": 1, "loss": 0.25},
        "tokens": 3,
        "seconds": 0.0625,
        "seed": 0,
        "stop_reason": "stop",
        "invalid": None,
    }
    assert lines[11]["answers"]["base"]["invalid"] == "not a label"


def test_hostile_text_is_written_and_can_be_read_back(hostile_summary: Summary, tmp_path: Path) -> None:
    for name in ("answers.csv", "answers.jsonl"):
        written = prediction_files.write_predictions(hostile_summary, tmp_path / name)
        assert len(written.read_bytes().decode("utf-8")) > 1000
    line = (tmp_path / "answers.jsonl").read_text(encoding="utf-8").splitlines()[0]
    assert json.loads(line)["prompt"] == hostile_summary.predictions[0].prompt


def test_another_ending_is_refused_with_those_that_there_are(summary: Summary, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.csv or \.jsonl, not as \.xlsx"):
        prediction_files.write_predictions(summary, tmp_path / "answers.xlsx")
    with pytest.raises(UsageError, match="nowhere"):
        prediction_files.write_predictions(summary, tmp_path / "nowhere" / "answers.csv")


def test_a_row_that_a_system_did_not_answer_has_no_mark() -> None:
    line = PredictionLine(source="a", prompt="b", expected="c", answers={})
    assert Row(line=line, answers={}).right("tuned") is None
