from __future__ import annotations

from collections.abc import Callable

from fewtune.data.checks.finding import Finding
from fewtune.types import Example

MakeExamples = Callable[[list[tuple[str, str]]], tuple[Example, ...]]
Found = Callable[..., dict[str, Finding]]

SUBJECTS = ("lamp", "rug", "sofa", "till", "pear", "tram", "goose", "piano", "ghost", "mill")


def test_capitals_throughout_are_noted_but_short_ones_are_not(examples: MakeExamples, found: Found) -> None:
    finding = found(examples([("WHERE IS MY PARCEL, PLEASE?", "a"), ("REFUND", "OK"), ("It is UP", "b")]))["upper_case"]
    assert (finding.rows, finding.repair) == ((0,), None)


def test_one_prompt_for_all_rows_is_a_warning(examples: MakeExamples, found: Found) -> None:
    finding = found(examples([("Write a story.", f"A story of a {subject}") for subject in SUBJECTS]))["same_prompt"]
    assert (finding.severity, finding.rows) == ("warning", ())


def test_what_all_prompts_and_answers_begin_with_is_noted(examples: MakeExamples, found: Found) -> None:
    rows = examples([(f"Write about a {subject}", f"This {subject}") for subject in SUBJECTS])
    findings = found(rows)
    assert "'Write about a'" in findings["common_prompt_prefix"].sentence
    assert "'This'" in findings["common_completion_prefix"].sentence
    assert not {"common_prompt_prefix", "common_completion_prefix"} & set(found(rows[:9]))
    assert "common_completion_prefix" not in found(rows, "json")
