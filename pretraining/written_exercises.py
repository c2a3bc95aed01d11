"""Exercises on texts of today; the texts are learnt along with the answers, for the books have no such words."""

from __future__ import annotations

import random
from collections.abc import Callable

from pretraining.exercise import Exercise, Kind, Maker, Page, asked
from pretraining.note_exercises import answer_of, fields_of
from pretraining.notes import careless
from pretraining.plots import patterns, told
from pretraining.written import Synopsis, order_books, places, synopses

_LONGEST_LIST = 14


def message_subject(rng: random.Random) -> Maker:
    """What a message is about, among the subjects of one place, or of two; what they are called is the group's."""
    chosen = rng.sample(places(), k=rng.choice([1, 1, 1, 2]))
    known = [subject for place in chosen for subject in place.subjects]
    wanted = rng.sample(known, k=rng.randint(3, min(len(known), _LONGEST_LIST)))
    names = [rng.choice(subject.names) for subject in wanted]
    ask = rng.choice(["", "", "", "What is it about?", f"One of {', '.join(sorted(set(names)))}"])

    def make(_: Page, rng: random.Random) -> Exercise:
        number = rng.randrange(len(wanted))
        return _exercise(ask, _as_sent(rng.choice(wanted[number].messages), rng), names[number])

    return make


def message_place(rng: random.Random) -> Maker:
    """Where a message should go to, among some places."""
    chosen = rng.sample(places(), k=rng.randint(2, 8))
    ask = rng.choice(["", "", "Who should answer?", f"One of {', '.join(sorted(place.name for place in chosen))}"])

    def make(_: Page, rng: random.Random) -> Exercise:
        place = rng.choice(chosen)
        message = rng.choice(rng.choice(place.subjects).messages)
        return _exercise(ask, _as_sent(message, rng), place.name)

    return make


def order_fields(rng: random.Random) -> Maker:
    """A JSON object of what a note of one trade says."""
    book = rng.choice(order_books())
    ask, keys, capital = fields_of(book.flag, rng)

    def make(_: Page, rng: random.Random) -> Exercise:
        note = rng.choice(book.notes)
        return _exercise(ask, note.text, answer_of(note, keys, capital=capital))

    return make


def synopsis_of_title(rng: random.Random) -> Maker:
    return _of_title(_written, rng)


def plot_of_title(rng: random.Random) -> Maker:
    return _of_title(_plotted, rng)


def title_of_synopsis(rng: random.Random) -> Maker:
    draw, ask = rng.choice([_written, _plotted]), rng.choice(["", "Title", "What is it called?"])

    def make(_: Page, rng: random.Random) -> Exercise:
        one = draw(rng)
        return _exercise(ask, one.text, one.title)

    return make


def _of_title(draw: Callable[[random.Random], Synopsis], rng: random.Random) -> Maker:
    ask = rng.choice(["", "", "", "Synopsis", "What happens in it?"])

    def make(_: Page, rng: random.Random) -> Exercise:
        one = draw(rng)
        return _exercise(ask, one.title, one.text)

    return make


def _written(rng: random.Random) -> Synopsis:
    return rng.choice(synopses())


def _plotted(rng: random.Random) -> Synopsis:
    return told(rng.choice(patterns()), rng)


def _exercise(ask: str, text: str, answer: str) -> Exercise:
    """A text that stands alone is learnt as well; a list of random names before it is not worth it."""
    return Exercise(prompt=asked(ask, text), answer=answer, prompt_learnt=not ask)


def _as_sent(message: str, rng: random.Random) -> str:
    """Now and then as typed in a hurry."""
    return careless(message, rng) if rng.random() < 0.1 else message


KINDS: dict[Kind, float] = {
    message_subject: 6.0,
    message_place: 0.6,
    order_fields: 2.0,
    synopsis_of_title: 2.5,
    plot_of_title: 4.0,
    title_of_synopsis: 0.6,
}
"""Each with its weight among the groups."""
