"""Several good answers to a prompt, through the main job."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

import fewtune
from fewtune.errors import DataError, UsageError
from fewtune.experiment.progress import Progress, Training
from fewtune.report.summary import Summary

FAKE = {"provider": "fake", "epochs": 1, "learning_rate": 1e-3, "rivals": "base,nearest-answer"}


@pytest.fixture
def judged(tmp_path: Path, few_rows: Path) -> Path:
    """Orders with two columns of further answers; the second one is what the nearest row would say."""
    with few_rows.open(encoding="utf-8", newline="") as opened:
        header, *rows = csv.reader(opened)
    path = tmp_path / "judged.csv"
    with path.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow([*header, "also", "or"])
        writer.writerows([*row, f"=also {n}", "" if n % 2 else f"or {n}"] for n, row in enumerate(rows))
    return path


def told(run: fewtune.Run) -> dict[str, tuple[str, ...]]:
    return {line.prompt: line.references for line in run.summary.predictions}


def test_references_are_judged_by_and_never_trained_on(judged: Path, tmp_path: Path) -> None:
    run = fewtune.run(judged, **FAKE, reference_columns=["also", "or"])
    assert all(found[0].startswith("=also ") and len(found) <= 2 for found in told(run).values())
    assert {len(found) for found in told(run).values()} == {1, 2}
    for part in ("train", "valid", "test"):
        assert "also" not in Path(run.summary.files[part]).read_text(encoding="utf-8")
    assert any("Further good answers, in 40 of 40 rows" in note for note in run.summary.data.notes)
    assert "--reference-column also --reference-column or" in run.summary.command
    lines = run.write_predictions(tmp_path / "said.jsonl").read_text(encoding="utf-8").splitlines()
    assert {json.loads(line)["references"][0][:6] for line in lines} == {"=also "}
    assert '"[""=also ' in run.write_predictions(tmp_path / "said.csv").read_text(encoding="utf-8")


def test_naming_them_afterwards_judges_anew_and_trains_nothing_again(judged: Path) -> None:
    first = fewtune.run(judged, **FAKE)
    seen: list[Progress] = []
    again = fewtune.run(judged, **FAKE, reference_columns="also", watch=seen.append)
    assert again.id == first.id and not [event for event in seen if isinstance(event, Training)]
    assert set(told(first).values()) == {()} and () not in told(again).values()
    assert told(fewtune.resume(again.id)) == told(again)


def test_an_answer_that_is_one_of_them_is_right(judged: Path) -> None:
    plain = fewtune.run(judged, **FAKE)
    said = {line.prompt: line.answers["nearest-answer"] for line in plain.summary.predictions}
    with judged.open(encoding="utf-8", newline="") as opened:
        rows = list(csv.DictReader(opened))
    with judged.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.DictWriter(opened, rows[0].keys())
        writer.writeheader()
        writer.writerows({**row, "also": said.get(row["prompt"], "")} for row in rows)
    run = fewtune.run(judged, **FAKE, reference_columns=("also",))
    assert right(run.summary) == 1 > right(plain.summary)


def right(summary: Summary) -> float:
    return next(one.metrics["exact_match"].value for one in summary.systems if one.name == "nearest-answer")


def test_the_page_shows_them_without_a_script(judged: Path) -> None:
    run = fewtune.run(judged, **FAKE, reference_columns="also")
    assert 'class="or">=also ' in run.report_path.read_text(encoding="utf-8")


def test_given_validation_rows_need_none(judged: Path, few_rows: Path) -> None:
    run = fewtune.run(judged, **FAKE, reference_columns="also", valid_file=few_rows, no_repair=["leaked_row"])
    assert run.summary.data.valid_rows == 40


def test_a_column_that_is_not_there_or_is_learnt_stops_the_run_at_once(judged: Path) -> None:
    with pytest.raises(DataError, match=r"no single column 'als'.*Did you mean 'also'"):
        fewtune.run(judged, **FAKE, reference_columns="als")
    with pytest.raises(UsageError, match="cannot be both the completion and a reference"):
        fewtune.run(judged, **FAKE, reference_columns="completion")
