from __future__ import annotations

from collections.abc import Callable

import pytest

from fewtune.data.task import Task, recognise, usual_spellings
from fewtune.types import Example

MakeExamples = Callable[[list[tuple[str, str]]], tuple[Example, ...]]


@pytest.fixture
def answered(examples: MakeExamples) -> Callable[[list[str]], tuple[Example, ...]]:
    return lambda answers: examples([(f"prompt {row}", answer) for row, answer in enumerate(answers)])


def test_few_short_answers_to_many_rows_are_labels(answered: Callable[[list[str]], tuple[Example, ...]]) -> None:
    task = recognise(answered(["yes ", "no", "yes", "", "no", "Yes", "no", "yes"]))
    assert task == Task(kind="labels", labels=("Yes", "no", "yes"))


@pytest.mark.parametrize(
    "answers",
    [
        [],
        ["", " "],
        ["yes", "no"],
        ["yes", "no", "maybe"] * 3,
        ["one two three four five six", "no"] * 9,
        ["x" * 65, "no"] * 9,
        ['{"a": 1}', '{"b": 1}', "neither", "nor"],
        ["1", "2", "3", "4"],
    ],
)
def test_everything_else_is_text(answered: Callable[[list[str]], tuple[Example, ...]], answers: list[str]) -> None:
    assert recognise(answered(answers)) == Task(kind="text")


def test_four_of_five_json_answers_make_it_json(answered: Callable[[list[str]], tuple[Example, ...]]) -> None:
    assert recognise(answered(['{"a": 1}', "[1]", " {} ", "[2]", "{broken"])).kind == "json"
    assert recognise(answered(['{"a": 1}', "[1]", " {} ", "{broken"])).kind == "text"


def test_the_usual_spelling_is_the_most_frequent_and_then_the_first(
    answered: Callable[[list[str]], tuple[Example, ...]],
) -> None:
    spellings = usual_spellings(answered(["Card lost", "card lost", "card lost ", "cardlost", "B", "b", ""]))
    assert spellings == {
        "Card lost": "card lost",
        "card lost": "card lost",
        "cardlost": "card lost",
        "B": "B",
        "b": "B",
    }
