from __future__ import annotations

from collections.abc import Callable

import pytest

from fewtune.data.checks.finding import Finding
from fewtune.types import Example

MakeExamples = Callable[[list[tuple[str, str]]], tuple[Example, ...]]
Found = Callable[..., dict[str, Finding]]
TEXT, LABELS, JSON = "text", "labels", "json"


def test_rows_without_prompt_or_answer_are_errors_that_are_dropped(examples: MakeExamples, found: Found) -> None:
    findings = found(examples([("a", ""), (" \n", "b"), ("", ""), ("c", "d")]), TEXT)
    assert findings["empty_prompt"].rows == (1, 2)
    assert findings["empty_completion"].rows == (0, 2)
    assert {finding.severity for finding in findings.values()} == {"error"}
    assert {finding.repair for finding in findings.values()} == {"drop"}


@pytest.mark.parametrize(
    "answer",
    ["Coming soon", "[COMING SOON!]", "tbd", "TBA.", "N/A", "n.a.", "TODO", "...", " … ", "Lorem ipsum dolor sit amet"],
)
def test_a_placeholder_is_found_whatever_its_case_and_punctuation(
    examples: MakeExamples, found: Found, answer: str
) -> None:
    finding = found(examples([("a", answer), ("b", "a real answer")]), TEXT)["placeholder_completion"]
    assert (finding.rows, finding.repair, finding.severity) == ((0,), "drop", "warning")
    assert repr(answer.strip()) in finding.sentence


@pytest.mark.parametrize("answer", ["Na", "The sequel is coming soon", "Todos", ".", "-", "none", "0"])
def test_an_answer_that_only_resembles_a_placeholder_is_left_alone(
    examples: MakeExamples, found: Found, answer: str
) -> None:
    assert "placeholder_completion" not in found(examples([("a", answer)]), TEXT)


def test_a_label_that_reads_like_a_placeholder_is_a_label_when_it_is_frequent(
    examples: MakeExamples, found: Found
) -> None:
    frequent = [(f"question {row}", label) for row, label in enumerate(["n/a", "yes", "no"] * 6)]
    findings = found(examples([*frequent, ("other", "TBD")]), LABELS)
    assert findings["placeholder_completion"].rows == (18,)


def test_answers_that_are_not_json_are_dropped_where_the_others_are(examples: MakeExamples, found: Found) -> None:
    rows = examples([("first order", '{"a": 1}'), ("second try", '{"a": 1'), ("third time", "null"), ("fourth", "TBD")])
    finding = found(rows, JSON)["invalid_json"]
    assert (finding.rows, finding.repair) == ((1,), "drop")
    assert "invalid_json" not in found(rows, TEXT)


def test_rows_of_which_none_has_a_prompt_are_meant_to_have_none(examples: MakeExamples, found: Found) -> None:
    findings = found(examples([("", f"the answer of row {row}") for row in range(10)]))
    assert "empty_prompt" not in findings
    assert (findings["same_prompt"].severity, findings["same_prompt"].rows) == ("note", ())


def test_an_answer_repeated_for_unrelated_prompts_is_shown_but_not_repaired(
    examples: MakeExamples, found: Found
) -> None:
    subjects = ("the lighthouse keeper", "seven grey geese", "an old tram", "my aunt's piano", "rain over Ghent")
    rows = [*((f"A story about {subject}", "See the web site.") for subject in subjects), ("Who?", "Me, I am afraid.")]
    finding = found(examples(rows))["repeated_answer"]
    assert (finding.rows, finding.repair, finding.recommended) == ((0, 1, 2, 3, 4), "drop", False)
    assert "repeated_answer" not in found(examples(rows[1:]))
    assert "repeated_answer" not in found(examples(rows), LABELS)


def test_most_answers_being_json_is_enough_to_show_the_others(examples: MakeExamples, found: Found) -> None:
    rows = examples([(f"order {row}", '{"a": 1}' if row < 6 else "two loaves") for row in range(10)])
    finding = found(rows, TEXT)["invalid_json"]
    assert (finding.rows, finding.recommended) == ((6, 7, 8, 9), False)
    assert "invalid_json" not in found(rows[1:2] + rows[6:], TEXT)


STORIES = tuple(
    f"The {who} went down to the harbour, and there the boats were waiting for the tide of {when}."
    for who in ("keeper", "baker", "nurse", "clerk", "miller", "piper")
    for when in ("morning", "evening", "autumn", "winter")
)


@pytest.mark.parametrize(
    "answer",
    [
        "The tailor went down to the harbour, and there the",
        "The tailor went down to the harbour, and there the boats were wai",
        "The tailor went down to the harbour, and there the boats,",
    ],
)
def test_an_answer_that_stops_within_a_word_or_a_sentence_is_shown(
    examples: MakeExamples, found: Found, answer: str
) -> None:
    rows = examples([(f"{row}", story) for row, story in enumerate((*STORIES, answer))])
    finding = found(rows)["truncated_answer"]
    assert (finding.rows, finding.repair, finding.recommended) == ((len(STORIES),), "drop", False)


def test_a_forgotten_full_stop_is_no_cut(examples: MakeExamples, found: Found) -> None:
    forgotten = "The tailor went down to the harbour, and there the boats were waiting for the evening"
    rows = examples([(f"{row}", story) for row, story in enumerate((*STORIES, forgotten))])
    assert "truncated_answer" not in found(rows)


def test_answers_without_a_habit_of_full_stops_are_not_judged(examples: MakeExamples, found: Found) -> None:
    rows = examples([(f"{row}", story.rstrip(".")) for row, story in enumerate(STORIES)])
    assert "truncated_answer" not in found(rows)
