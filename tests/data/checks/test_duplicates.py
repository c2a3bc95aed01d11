from __future__ import annotations

from collections.abc import Callable

from fewtune.data.checks.finding import Finding
from fewtune.data.checks.material import Material
from fewtune.data.task import Task
from fewtune.types import Example

MakeExamples = Callable[[list[tuple[str, str]]], tuple[Example, ...]]
Found = Callable[..., dict[str, Finding]]
TEXT, LABELS, JSON = "text", "labels", "json"


def test_the_first_of_several_equal_rows_is_kept(examples: MakeExamples, found: Found) -> None:
    rows = examples([("a", "b"), ("c", "d"), (" a", "b\n"), ("a", "e"), ("a", "b")])
    finding = found(rows, TEXT)["duplicate_row"]
    assert (finding.rows, finding.repair) == ((2, 4), "drop")


def test_one_prompt_with_two_labels_is_shown_and_never_repaired(examples: MakeExamples, found: Found) -> None:
    rows = examples([("Where is it?", "a"), ("x", "a"), ("where  is it? ", "b"), ("x", "A"), ("x", "TBD")])
    finding = found(rows, LABELS)["conflicting_answers"]
    assert (finding.rows, finding.repair, finding.recommended) == ((0, 2), None, False)


def test_nearly_equal_rows_are_noted_and_equal_ones_are_not(examples: MakeExamples, found: Found) -> None:
    rows = [
        ("My parcel has not arrived yet, where is it?", "delivery"),
        ("my parcel has not arrived yet - where is it", "delivery"),
        ("Please cancel my order of two chairs.", "cancel"),
        ("Please cancel my order of two chairs.", "cancel"),
    ]
    finding = found(examples(rows), LABELS)["near_duplicate"]
    assert (finding.rows, finding.severity, finding.repair) == ((0, 1), "note", None)


def test_an_instruction_repeated_in_every_row_makes_no_rows_alike(examples: MakeExamples, found: Found) -> None:
    start = "You are a careful clerk of a large shop. Say which department the following message belongs to: "
    rows = examples([(f"{start}{words} ###", "a") for words in ("my lamp broke", "refund me", "who are you")])
    assert "near_duplicate" not in found(rows, LABELS)


def test_one_prompt_with_two_texts_is_noted_and_with_the_same_json_it_is_not(
    examples: MakeExamples, found: Found
) -> None:
    texts = found(examples([("a", "one"), ("a", "two"), ("b", "three")]), TEXT)["conflicting_answers"]
    assert (texts.rows, texts.severity) == ((0, 1), "note")
    rows = examples([("a", '{"x": 1, "y": 2}'), ("a", '{"y":2,"x":1}'), ("b", "1"), ("b", "2"), ("c", "3")])
    assert found(rows, JSON)["conflicting_answers"].rows == (2, 3)


def test_one_row_without_the_instruction_of_all_others_makes_no_crowd_of_them(
    examples: MakeExamples, found: Found
) -> None:
    start = "You are a careful clerk of a large shop. Say which department the following message belongs to: "
    subjects = [f"{subject}{number * 77}" for subject in ("lamp", "rug", "sofa", "till") for number in range(6)]
    rows = examples([*((f"{start}{subject}", "a") for subject in subjects), ("Zebras, please", "b")])
    assert "near_duplicate" not in found(rows, LABELS)


def test_a_row_without_an_answer_is_in_no_cluster_with_others(examples: MakeExamples) -> None:
    rows = examples([("Where is my parcel?", "a"), ("Where is my parcel?", ""), ("where is my parcel", "b")])
    numbers = Material(examples=rows, task=Task(kind="labels")).clusters
    assert numbers[0] == numbers[2] != numbers[1]
