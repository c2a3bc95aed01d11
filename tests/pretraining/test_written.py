"""The texts written for this project: whole, different from each other, and independent of the example data."""

from __future__ import annotations

import csv
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

from pretraining import exercises, plots, written
from pretraining.corpus import Book, read_books
from pretraining.notes import DAYS

EXAMPLES = Path(__file__).parents[2] / "examples"
IN_A_ROW = 6


def messages() -> Iterator[str]:
    return (message for place in written.places() for one in place.subjects for message in one.messages)


def notes() -> Iterator[str]:
    return (note.text for book in written.order_books() for note in book.notes)


def texts() -> Iterator[str]:
    yield from messages()
    yield from notes()
    yield from (f"{one.title}\n{one.text}" for one in (*written.synopses(), *plotted(10)))


def plotted(count: int) -> list[written.Synopsis]:
    """The same ones each time, of every pattern so many."""
    rng = random.Random(0)
    return [plots.told(pattern, rng) for pattern in plots.patterns() for _ in range(count)]


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def rows_of_words(text: str) -> set[tuple[str, ...]]:
    found = words(text)
    return {tuple(found[place : place + IN_A_ROW]) for place in range(len(found) - IN_A_ROW + 1)}


@cache
def all_rows_of_words() -> dict[tuple[str, ...], str]:
    """Each with a text that it stands in."""
    return {row: text for text in texts() for row in rows_of_words(text)}


def duplicates(texts: Iterable[str]) -> list[tuple[str, ...]]:
    counted = Counter(tuple(words(text)) for text in texts)
    return [text for text, count in counted.items() if count > 1]


def test_no_text_stands_there_twice() -> None:
    assert not duplicates(messages())
    assert not duplicates(notes())
    assert not duplicates(one.text for one in written.synopses())
    assert not duplicates(one.text for one in plots.patterns())


@pytest.mark.parametrize("name", ["tickets", "orders", "episodes"])
def test_no_six_words_in_a_row_of_an_example_occur_in_them(name: str) -> None:
    ours = all_rows_of_words()
    with (EXAMPLES / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        for example in csv.DictReader(file):
            for column in example.values():
                shared = rows_of_words(column) & ours.keys()
                assert not shared, [ours[row] for row in shared]


def test_a_pattern_tells_many_stories_and_each_is_whole() -> None:
    stories = plotted(20)
    for one in stories:
        assert not set("{}[]|") & set(one.title + one.text), one
        assert one.title[0].isupper() or one.title[0].isdigit(), one
        assert one.text.endswith((".", "!", "?", '."', '?"', '!"')), one
        assert not re.search(r"[.!?] [a-z]", one.text), one
        assert not re.search(r"\b[Aa] (?!one|use|uni|eu)[aeiou]", f"{one.title} | {one.text}"), one
        assert not re.search(r"\b[Aa]n (?![aeiou]|hour|honest)", f"{one.title} | {one.text}".lower()), one
        assert 15 <= len(words(one.text)) <= 90, one
    assert len({one.text for one in stories}) > 0.9 * len(stories)


def test_a_pattern_with_a_slot_that_nothing_fills_is_refused() -> None:
    with pytest.raises(ValueError, match=r"The Lost .*: a thimg, naem"):
        plots.check(written.Synopsis(title="The Lost {thing}", text="{naem} finds {a thimg} at {place}."))


def test_a_pattern_has_no_his_that_would_have_to_be_hers() -> None:
    for one in plots.patterns():
        assert not re.search(r"\{his2?\}(?! ?[\w{\[])", one.text), one


def test_the_two_people_of_a_story_are_never_both_she_or_both_he() -> None:
    for seed in range(50):
        drawn = plots.fillings(random.Random(seed))
        assert {drawn["he"], drawn["he2"]} == {"he", "she"}
        assert drawn["thing"] != drawn["thing2"]
        assert drawn["a animal"].endswith(f" {drawn['animal']}")


def test_every_place_has_subjects_with_names_and_messages() -> None:
    for place in written.places():
        assert len(place.subjects) >= 3
        assert all(subject.names and len(subject.messages) >= 10 for subject in place.subjects), place.name


def test_every_note_says_what_is_written_down_of_it() -> None:
    for book in written.order_books():
        for note in book.notes:
            said = note.text.lower()
            assert all(part.lower() in said for part in (note.thing, note.name, note.place) if part), note
            assert note.day is None or note.day in DAYS, note
            assert note.count >= 1, note


def test_exercises_on_them_learn_the_text_and_its_answer(corpus: Path) -> None:
    book: Book = next(read_books(corpus))
    groups = list(exercises.groups(exercises.pages(book), 60, random.Random(0), written_share=1.0))
    learnt = [all(piece.trained for piece in group) for group in groups]
    assert any(learnt)
    assert all(piece.trained for group in groups for piece in group[1::2])
