"""The exercises of the last part of training: groups of one kind, in the frame that tuning and sampling use."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from fewtune.data.encode import PLAIN_FRAME
from pretraining import book_exercises, note_exercises, written_exercises
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


@dataclass(frozen=True, kw_only=True)
class Written:
    """How much of the exercises is on written texts of today."""

    share: float = 0.0
    """Of the groups."""
    learnt: float = 1.0
    """Share of those groups whose texts are learnt as well as the answers."""


NOTHING_WRITTEN = Written()


def pages(book: Book) -> list[Page]:
    """The book's paragraphs that are neither headings nor too long, each on one line."""
    paragraphs = (" ".join(paragraph.split()) for paragraph in book.text.split("\n\n"))
    made = (Page(book, text) for text in paragraphs if 60 <= len(text) <= LONGEST_PAGE)
    return [page for page in made if page.sentences]


def groups(
    pages: Sequence[Page], count: int, rng: random.Random, written: Written = NOTHING_WRITTEN
) -> Iterator[list[Piece]]:
    """`count` framed groups; each ends where the end token goes."""
    for _ in range(count):
        group = draw(pages, rng, written)
        if group:
            yield framed(group)


def draw(pages: Sequence[Page], rng: random.Random, written: Written = NOTHING_WRITTEN) -> list[Exercise]:
    """Exercises of one kind, on pages of one book or on the written texts."""
    # Where a share is nothing or all, nothing is drawn for it: the exercises of earlier runs stay as they were.
    kinds = written_exercises.KINDS if written.share and rng.random() < written.share else _KINDS
    only_answers = written.learnt < 1 and rng.random() >= written.learnt
    (kind,) = rng.choices(list(kinds), weights=list(kinds.values()))
    make = kind(rng)
    wanted = 1 if rng.random() < ALONE_SHARE else rng.randint(2, LARGEST_GROUP)
    made: list[Exercise] = []
    for _ in range(6 * wanted):
        page = rng.choice(pages)
        page = Page(page.book, with_curly_quotes(page.paragraph, rng))
        exercise = make(page, rng)
        if exercise and exercise.prompt.strip() and exercise.answer.strip():
            made.append(replace(exercise, prompt_learnt=False) if only_answers else exercise)
        if len(made) == wanted:
            break
    return made


def framed(group: Sequence[Exercise]) -> list[Piece]:
    """As `Encoder.prompt` and `Encoder.completion` frame worked examples, an example and its answer."""
    pieces: list[Piece] = []
    for place, exercise in enumerate(group):
        before = PLAIN_FRAME.delimiter if place else ""
        pieces.append(Piece(before + PLAIN_FRAME.prompt_text(exercise.prompt), trained=exercise.prompt_learnt))
        pieces.append(Piece(PLAIN_FRAME.completion_text(exercise.answer), trained=True))
    return pieces
