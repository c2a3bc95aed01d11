"""Real files end to end: what is wrong with them is found, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from fewtune.data.checks.material import Material
from fewtune.data.checks.runner import check
from fewtune.data.read import Dataset, read
from fewtune.data.repair import repair
from fewtune.data.split import split
from fewtune.data.task import recognise

ROOT = Path(__file__).parents[2]


def dataset(place: str) -> Dataset:
    path = ROOT / place
    if not path.exists():
        pytest.skip(f"needs the test data {place}, which is not here")
    return read(path)


def lines_by_code(data: Dataset) -> dict[str, list[int]]:
    findings = check(Material(examples=data.examples, task=recognise(data.examples)))
    return {finding.code: [data.examples[row].source.line for row in finding.rows] for finding in findings}


@pytest.mark.parametrize(
    ("name", "kind", "flaws"),
    [
        (
            "tickets",
            "labels",
            {
                "empty_completion": [61],
                "placeholder_completion": [178, 193],
                "duplicate_row": [294, 383],
                "stray_whitespace": [133, 256, 270],
                "label_variant": [116],
                "conflicting_answers": [96, 368],
                "near_duplicate": [96, 110, 175, 368],
            },
        ),
        (
            "orders",
            "json",
            {
                "empty_completion": [109],
                "placeholder_completion": [45, 198],
                "invalid_json": [81],
                "duplicate_row": [153],
                "stray_whitespace": [26, 187],
                "near_duplicate": [17, 176],
            },
        ),
        (
            "episodes",
            "text",
            {
                "empty_completion": [116],
                "placeholder_completion": [100, 107, 164],
                "duplicate_row": [176],
                "stray_whitespace": [12, 62, 120],
                "conflicting_answers": [3, 200],
                "near_duplicate": [3, 200],
            },
        ),
    ],
)
def test_exactly_the_flaws_of_an_example_set_are_found(name: str, kind: str, flaws: dict[str, list[int]]) -> None:
    data = dataset(f"examples/{name}.csv")
    assert recognise(data.examples).kind == kind
    assert lines_by_code(data) == flaws


@pytest.mark.parametrize("name", ["tickets", "orders", "episodes"])
def test_an_example_set_is_clean_after_repair_and_can_be_split(name: str) -> None:
    data = dataset(f"examples/{name}.csv")
    findings = check(Material(examples=data.examples, task=recognise(data.examples)))
    kept = repair(data.examples, findings).examples
    task = recognise(kept)
    assert not any(finding.recommended for finding in check(Material(examples=kept, task=task)))
    parts = split(kept, task, seed=0)
    assert len(parts.valid) == len(parts.test) == round(0.15 * len(kept))


def test_the_synopses_are_read_with_their_line_breaks_and_six_placeholders() -> None:
    data = dataset("../shared/data/doctor_who/dw_synopses.csv")
    assert len(data.examples) == 304
    assert data.ignored_columns == ("unnamed column 1", "Unnamed: 0")
    lines = Path(data.path).read_text(encoding="utf-8").split("\n")
    assert all(example.prompt.split("\n")[0] in lines[example.source.line - 1] for example in data.examples)
    found = lines_by_code(data)
    assert set(found) == {"placeholder_completion", "stray_whitespace"}
    assert len(found["placeholder_completion"]) == 6


def test_thousands_of_customer_questions_raise_no_false_alarm() -> None:
    data = dataset("../shared/data/banking77/train.csv")
    task = recognise(data.examples)
    found = lines_by_code(data)
    assert (task.kind, len(task.labels)) == ("labels", 77)
    assert set(found) <= {"duplicate_row", "stray_whitespace", "conflicting_answers", "near_duplicate", "upper_case"}
    assert sum(len(lines) for code, lines in found.items() if code != "near_duplicate") < 0.01 * len(data.examples)
    assert len(found["near_duplicate"]) < 0.03 * len(data.examples)
