"""The exercises of the last part of training: groups of one kind, in the frame that tuning and sampling use."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fewtune.data.encode import PLAIN_FRAME
from pretraining import book_exercises, note_exercises
from pretraining.corpus import Book, with_curly_quotes
from pretraining.exercise import Exercise, Page

LONGEST_PAGE = 1200
"""Characters of a paragraph that is used."""
ALONE_SHARE = 0.5
"""Share of groups with one exercise; the others are worked examples before another one."""
LARGEST_GROUP = 7

_KINDS = {**book_exercises.KINDS, **note_exercises.KINDS}


@dataclass(frozen=True)
class Piece:
    """A piece of framed text, and whether it is trained on: answers are, prompts are not."""

    text: str
    trained: bool


def pages(book: Book) -> list[Page]:
    """The book's paragraphs that are neither headings nor too long, each on one line."""
    paragraphs = (" ".join(paragraph.split()) for paragraph in book.text.split("\n\n"))
    made = (Page(book, text) for text in paragraphs if 60 <= len(text) <= LONGEST_PAGE)
    return [page for page in made if page.sentences]


def groups(pages: Sequence[Page], count: int, rng: random.Random) -> Iterator[list[Piece]]:
    """`count` framed groups; each ends where the end token goes."""
    for _ in range(count):
        group = draw(pages, rng)
        if group:
            yield framed(group)


def draw(pages: Sequence[Page], rng: random.Random) -> list[Exercise]:
    """Exercises of one kind, on pages of one book."""
    (kind,) = rng.choices(list(_KINDS), weights=list(_KINDS.values()))
    make = kind(rng)
    wanted = 1 if rng.random() < ALONE_SHARE else rng.randint(2, LARGEST_GROUP)
    made: list[Exercise] = []
    for _ in range(6 * wanted):
        page = rng.choice(pages)
        page = Page(page.book, with_curly_quotes(page.paragraph, rng))
        exercise = make(page, rng)
        if exercise and exercise.prompt.strip() and exercise.answer.strip():
            made.append(exercise)
        if len(made) == wanted:
            break
    return made


def framed(group: Sequence[Exercise]) -> list[Piece]:
    """As `Encoder.prompt` and `Encoder.completion` frame worked examples, an example and its answer."""
    pieces: list[Piece] = []
    for place, exercise in enumerate(group):
        before = PLAIN_FRAME.delimiter if place else ""
        pieces.append(Piece(before + PLAIN_FRAME.prompt_text(exercise.prompt), trained=False))
        pieces.append(Piece(PLAIN_FRAME.completion_text(exercise.answer), trained=True))
    return pieces
