from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

import fewtune
from fewtune.data.checks.finding import Finding
from fewtune.data.rendering import ROW_SHAPES
from fewtune.errors import UsageError
from fewtune.types import Example

COLOURS = ("red", "green", "blue", "white", "black", "yellow", "brown", "grey")
THINGS = ("lamp", "house", "river", "coat", "door", "stone", "boat", "hat", "chair", "field")


def write_rows(path: Path, rows: Sequence[Sequence[str]], columns: Sequence[str] = ("prompt", "completion")) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)
    return path


def good_rows() -> list[tuple[str, str]]:
    return [
        (f"Tell me about the {colour} {thing}, please.", f"The {thing} that is {colour} belongs to number {place}.")
        for place, (colour, thing) in enumerate((colour, thing) for colour in COLOURS for thing in THINGS)
    ]


def test_rows_read_are_rows_kept_and_rows_dropped_by_code(tmp_path: Path) -> None:
    rows = [*good_rows(), ("", "No prompt."), ("No answer?", ""), good_rows()[3], ("Soon?", "Coming soon")]
    prepared = fewtune.prepare(write_rows(tmp_path / "rows.csv", rows))
    assert prepared.repaired.dropped == {
        "empty_prompt": 1,
        "empty_completion": 1,
        "placeholder_completion": 1,
        "duplicate_row": 1,
    }
    assert len(prepared.examples) == len(prepared.kept) + sum(prepared.repaired.dropped.values())
    parts = prepared.split
    assert len(parts.train) + len(parts.valid) + len(parts.test) == len(prepared.kept)


def test_training_rows_that_stand_in_the_given_validation_file_are_dropped_and_told(tmp_path: Path) -> None:
    rows = good_rows()
    path = write_rows(tmp_path / "rows.csv", rows)
    held = write_rows(tmp_path / "held.csv", [*rows[:3], ("Is it raining in the north?", "It rains there.")])
    prepared = fewtune.prepare(path, valid_file=held)
    leaks = next(finding for finding in prepared.findings if finding.code == "leaked_row")
    assert leaks.rows == (0, 1, 2) and leaks.severity == "error"
    assert prepared.repaired.dropped["leaked_row"] == 3
    assert [row.source.file for row in prepared.split.valid] == [str(held)] * 4
    assert len(prepared.split.train) + len(prepared.split.test) == len(rows) - 3
    assert not {row.prompt for row in prepared.split.train} & {row.prompt for row in prepared.split.valid}


def test_a_validation_share_beside_a_validation_file_is_refused(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.csv", good_rows())
    with pytest.raises(UsageError, match="cannot both be given"):
        fewtune.prepare(path, valid_file=path, valid=0.2)


def test_rows_of_a_group_stay_together(tmp_path: Path) -> None:
    rows = [(prompt, answer, f"person {place % 9}") for place, (prompt, answer) in enumerate(good_rows())]
    path = write_rows(tmp_path / "rows.csv", rows, ("prompt", "completion", "who"))
    prepared = fewtune.prepare(path, group_column="who")
    parts = prepared.split
    groups = [{row.group for row in part} for part in (parts.train, parts.valid, parts.test)]
    assert sum(map(len, groups)) == 9


def test_a_person_decides_finding_by_finding(tmp_path: Path) -> None:
    rows = [*good_rows(), ("No answer?", ""), ("Soon?", "Coming soon")]
    asked: list[str] = []

    def decide(finding: Finding, examples: Sequence[Example]) -> bool:
        asked.append(finding.code)
        assert [examples[row].row for row in finding.rows] == list(finding.rows)
        return finding.code == "empty_completion"

    prepared = fewtune.prepare(write_rows(tmp_path / "rows.csv", rows), decide=decide)
    assert {"empty_completion", "placeholder_completion"} <= set(asked)
    assert prepared.repaired.dropped == {"empty_completion": 1}


def test_refused_and_accepted_repairs_are_not_asked_about(tmp_path: Path) -> None:
    rows = [*good_rows(), ("Soon?", "Coming soon")]
    path = write_rows(tmp_path / "rows.csv", rows)
    kept = fewtune.prepare(path, no_repair=["placeholder_completion"], decide=lambda finding, rows: True)
    assert not kept.repaired.dropped
    with pytest.raises(UsageError, match="no finding 'placeholder'"):
        fewtune.prepare(path, repair=["placeholder"])


def test_what_the_validation_rows_cannot_tell_apart_is_said_in_numbers(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.csv", good_rows())
    few = next(one for one in fewtune.prepare(path).findings if one.code == "few_validation_rows")
    assert "12 validation rows" in few.sentence and "0.64 times its spread" in few.sentence
    assert few.severity == "warning"
    none = next(one for one in fewtune.prepare(path, valid=3).findings if one.code == "few_validation_rows")
    assert "no two models can be told apart by their loss" in none.sentence
    labels = write_rows(tmp_path / "labels.csv", [(prompt, prompt[18:20]) for prompt, _ in good_rows()])
    few = next(one for one in fewtune.prepare(labels).findings if one.code == "few_validation_rows")
    assert "right answers only from a difference of 50 points" in few.sentence


@pytest.mark.parametrize("shape", ROW_SHAPES)
def test_what_is_written_is_read_again_as_the_same_rows(tmp_path: Path, shape: str) -> None:
    prepared = fewtune.prepare(write_rows(tmp_path / "rows.csv", good_rows()))
    paths = prepared.write(tmp_path / "out", format=shape)  # pyright: ignore[reportArgumentType]
    again = fewtune.prepare(paths["train"])
    assert [(row.prompt, row.completion) for row in again.examples] == [
        (row.prompt, row.completion) for row in prepared.split.train
    ]


def test_folds_are_written_beside_the_parts(tmp_path: Path) -> None:
    prepared = fewtune.prepare(write_rows(tmp_path / "rows.csv", good_rows()))
    paths = prepared.write(tmp_path / "out", folds=4)
    judged = [line for number in range(1, 5) for line in paths[f"fold_{number}_valid"].read_text().splitlines()]
    assert sorted(judged) == sorted(json.dumps({"prompt": p, "completion": c}) for p, c in good_rows())


def test_the_report_holds_what_is_learnt_and_every_change(tmp_path: Path) -> None:
    rows = [*good_rows(), (" Where is the  moon?", "Above. ")]
    paths = fewtune.prepare(write_rows(tmp_path / "rows.csv", rows)).write(tmp_path / "out")
    report = json.loads(paths["data_report"].read_text())
    assert report["schema_version"] == 1 and report["rows_read"] == 81 and report["shape"] == "prompt and completion"
    assert report["changes"][0]["before"] == [" Where is the  moon?", "Above. "]
    learnt = [piece for line in report["mask"] for piece in line["pieces"]]
    assert any(piece["stop"] for piece in learnt) and not all(piece["trained"] for piece in learnt)
    assert "stray_whitespace" in paths["data_page"].read_text()
