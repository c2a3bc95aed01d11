from __future__ import annotations

from collections.abc import Callable

import pytest

from fewtune.data.check import CHECKS, Finding, check
from fewtune.data.task import Task, recognise
from fewtune.types import Example

MakeExamples = Callable[[list[tuple[str, str]]], tuple[Example, ...]]
TEXT, LABELS, JSON = (Task(kind=kind) for kind in ("text", "labels", "json"))


def found(rows: tuple[Example, ...], task: Task) -> dict[str, Finding]:
    return {finding.code: finding for finding in check(rows, task) if finding.code != "few_rows"}


def test_rows_without_prompt_or_answer_are_errors_that_are_dropped(examples: MakeExamples) -> None:
    findings = found(examples([("a", ""), (" \n", "b"), ("", ""), ("c", "d")]), TEXT)
    assert findings["empty_prompt"].rows == (1, 2)
    assert findings["empty_completion"].rows == (0, 2)
    assert {finding.severity for finding in findings.values()} == {"error"}
    assert {finding.repair for finding in findings.values()} == {"drop"}


@pytest.mark.parametrize(
    "answer",
    ["Coming soon", "[COMING SOON!]", "tbd", "TBA.", "N/A", "n.a.", "TODO", "...", " … ", "Lorem ipsum dolor sit amet"],
)
def test_a_placeholder_is_found_whatever_its_case_and_punctuation(examples: MakeExamples, answer: str) -> None:
    finding = found(examples([("a", answer), ("b", "a real answer")]), TEXT)["placeholder_completion"]
    assert (finding.rows, finding.repair, finding.severity) == ((0,), "drop", "warning")
    assert repr(answer.strip()) in finding.sentence


@pytest.mark.parametrize("answer", ["Na", "The sequel is coming soon", "Todos", ".", "-", "none", "0"])
def test_an_answer_that_only_resembles_a_placeholder_is_left_alone(examples: MakeExamples, answer: str) -> None:
    assert "placeholder_completion" not in found(examples([("a", answer)]), TEXT)


def test_a_label_that_reads_like_a_placeholder_is_a_label_when_it_is_frequent(examples: MakeExamples) -> None:
    frequent = [(f"question {row}", label) for row, label in enumerate(["n/a", "yes", "no"] * 6)]
    findings = found(examples([*frequent, ("other", "TBD")]), LABELS)
    assert findings["placeholder_completion"].rows == (18,)


def test_the_first_of_several_equal_rows_is_kept(examples: MakeExamples) -> None:
    rows = examples([("a", "b"), ("c", "d"), (" a", "b\n"), ("a", "e"), ("a", "b")])
    finding = found(rows, TEXT)["duplicate_row"]
    assert (finding.rows, finding.repair) == ((2, 4), "drop")


def test_white_space_is_found_at_the_ends_but_not_inside(examples: MakeExamples) -> None:
    rows = examples([(" a", "b"), ("c", "d\t"), ("e  e", "f\n\nf"), ("", " ")])
    finding = found(rows, TEXT)["stray_whitespace"]
    assert (finding.rows, finding.repair) == ((0, 1), "strip")


def test_a_label_in_a_rarer_spelling_is_relabelled(examples: MakeExamples) -> None:
    labels = ["card lost", "Card lost", "card lost", "cardlost ", "refund", "refund "]
    finding = found(examples([(f"words of row {row}" * 3, label) for row, label in enumerate(labels)]), LABELS)
    assert (finding["label_variant"].rows, finding["label_variant"].repair) == ((1, 3), "relabel")


def test_one_prompt_with_two_labels_is_shown_and_never_repaired(examples: MakeExamples) -> None:
    rows = examples([("Where is it?", "a"), ("x", "a"), ("where  is it? ", "b"), ("x", "A"), ("x", "TBD")])
    finding = found(rows, LABELS)["conflicting_answers"]
    assert (finding.rows, finding.repair, finding.recommended) == ((0, 2), None, False)
    assert "conflicting_answers" not in found(rows, TEXT)


def test_nearly_equal_rows_are_noted_and_equal_ones_are_not(examples: MakeExamples) -> None:
    rows = [
        ("My parcel has not arrived yet, where is it?", "delivery"),
        ("my parcel has not arrived yet - where is it", "delivery"),
        ("Please cancel my order of two chairs.", "cancel"),
        ("Please cancel my order of two chairs.", "cancel"),
    ]
    finding = found(examples(rows), LABELS)["near_duplicate"]
    assert (finding.rows, finding.severity, finding.repair) == ((0, 1), "note", None)


def test_an_instruction_repeated_in_every_row_makes_no_rows_alike(examples: MakeExamples) -> None:
    start = "You are a careful clerk of a large shop. Say which department the following message belongs to: "
    rows = examples([(f"{start}{words} ###", "a") for words in ("my lamp broke", "refund me", "who are you")])
    assert "near_duplicate" not in found(rows, LABELS)


def test_answers_that_are_not_json_are_dropped_where_the_others_are(examples: MakeExamples) -> None:
    rows = examples([("first order", '{"a": 1}'), ("second try", '{"a": 1'), ("third time", "null"), ("fourth", "TBD")])
    finding = found(rows, JSON)["invalid_json"]
    assert (finding.rows, finding.repair) == ((1,), "drop")
    assert "invalid_json" not in found(rows, TEXT)


def test_fewer_than_a_hundred_rows_are_noted(examples: MakeExamples) -> None:
    rows = examples([(f"{row}{row}{row}", f"{row}") for row in range(100)])
    assert [finding.code for finding in check(rows[:99], TEXT)] == ["few_rows"]
    assert check(rows, TEXT) == ()


def test_no_rows_and_clean_rows_are_checked_without_complaint(examples: MakeExamples) -> None:
    assert found((), TEXT) == {}
    assert found(examples([("What is the capital of Peru?", "Lima"), ("Who wrote Emma?", "Jane Austen")]), TEXT) == {}


def test_every_check_is_named_after_its_finding(examples: MakeExamples) -> None:
    nearly = "some words that stand here twice, nearly"
    bad = [
        ("", "a"),
        ("a", ""),
        ("b", "TBD"),
        ("c", "{"),
        (nearly, " A"),
        (nearly, "A "),
        (f"{nearly}!", "a"),
        ("d", "b"),
    ]
    rows = examples([*bad, ("d", "a")])
    codes = {finding.code for task in (LABELS, JSON, recognise(rows)) for finding in check(rows, task)}
    assert codes == {function.__name__ for function in CHECKS}
