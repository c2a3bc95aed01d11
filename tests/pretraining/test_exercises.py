"""What the exercises are: framed as tuning frames, right by their own rule, and made of nothing from the examples."""

from __future__ import annotations

import csv
import json
import random
from itertools import chain
from pathlib import Path

import pytest

from fewtune.data.encode import PLAIN_FRAME
from pretraining import book_exercises, exercises, note_exercises, notes, written_exercises
from pretraining.corpus import Book, read_books
from pretraining.exercise import Exercise, Kind, Page

EXAMPLES = Path(__file__).parents[2] / "examples"
KINDS = [*book_exercises.KINDS, *note_exercises.KINDS, *written_exercises.KINDS]


@pytest.fixture
def book(corpus: Path) -> Book:
    return next(read_books(corpus))


def drawn(kind: Kind, book: Book, count: int = 40) -> list[Exercise]:
    """Exercises of many groups of a kind."""
    rng = random.Random(0)
    pages = exercises.pages(book)
    made = (kind(rng)(rng.choice(pages), rng) for _ in range(50 * count))
    return [exercise for exercise in made if exercise][:count]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_kind_makes_exercises_with_a_prompt_and_an_answer(kind: Kind, book: Book) -> None:
    made = drawn(kind, book)
    assert len(made) >= 20
    assert all(exercise.prompt.strip() and exercise.answer.strip() for exercise in made)


def test_a_group_is_framed_as_worked_examples_before_a_prompt_and_its_answer() -> None:
    group = [Exercise(prompt="a", answer="b"), Exercise(prompt="c", answer="d")]
    pieces = exercises.framed(group)
    expected = PLAIN_FRAME.few_shot_text("c", [("a", "b")]) + PLAIN_FRAME.completion_text("d")
    assert "".join(piece.text for piece in pieces) == expected
    assert [piece.trained for piece in pieces] == [False, True, False, True]


def test_the_same_seed_draws_the_same_exercises(book: Book) -> None:
    pages = exercises.pages(book)
    first, second = (list(exercises.groups(pages, 50, random.Random(3))) for _ in range(2))
    assert first == second
    assert first != list(exercises.groups(pages, 50, random.Random(4)))


def test_headings_give_no_pages(book: Book) -> None:
    assert "CHAPTER I" not in {page.paragraph for page in exercises.pages(book)}


def test_fields_of_a_note_are_what_the_note_says() -> None:
    page = Page(Book(line=0, title="", author="", year=0, text=""), "Nothing here.")
    rng = random.Random(1)
    for _ in range(200):
        made = notes.note(rng.choice(notes.TRADES), page, rng)
        text = made.text.lower().replace("'", "")
        for part in (made.thing, made.name, made.place):
            assert part is None or part.lower().replace("'", "").split()[-1] in text
        assert made.day is None or made.day[:3] in text


@pytest.mark.parametrize("kind", [note_exercises.note_fields, book_exercises.sentence_fields, book_exercises.book_card])
def test_fields_are_json_objects(kind: Kind, book: Book) -> None:
    for exercise in drawn(kind, book):
        assert isinstance(json.loads(exercise.answer), dict)


def test_list_exercises_do_what_they_say(book: Book) -> None:
    for exercise in drawn(book_exercises.words, book, 200):
        ask, _, listed = exercise.prompt.rpartition(": ")
        if ask == "Sort":
            assert exercise.answer.split(", ") == sorted(listed.split(", "))
        if ask == "How many":
            assert int(exercise.answer) == len(listed.split(", "))


def test_no_row_of_the_example_data_is_among_the_messages() -> None:
    ours = {sentence.lower() for sentence in chain(*note_exercises.MESSAGES.values())}
    for path in sorted(EXAMPLES.glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as opened:
            rows = {cell.strip().lower() for row in csv.reader(opened) for cell in row if len(cell) > 20}
        assert not ours & rows
