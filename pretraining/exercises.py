"""The exercises of the last part of training: groups of one kind, in the frame that tuning and sampling use."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fewtune.data.encode import PLAIN_FRAME
from pretraining import book_exercises, note_exercises, written_exercises
from pretraining.corpus import Book, with_curly_quotes
from pretraining.exercise import Exercise, Maker, Page

LONGEST_PAGE = 1200
"""Characters of a paragraph that is used."""
ALONE_SHARE = 0.5
"""Share of groups with one exercise; the others are worked examples before another one."""
WRITTEN_ALONE_SHARE = 0.8
"""The same on written texts: an answer that stands alone ends there, and is not followed by another example."""
LARGEST_GROUP = 7

_KINDS = {**book_exercises.KINDS, **note_exercises.KINDS}


@dataclass(frozen=True)
class Piece:
    """A piece of framed text, and whether it is trained on: answers are, prompts mostly are not."""

    text: str
    trained: bool
    answer: bool


def pages(book: Book) -> list[Page]:
    """The book's paragraphs that are neither headings nor too long, each on one line."""
    paragraphs = (" ".join(paragraph.split()) for paragraph in book.text.split("\n\n"))
    made = (Page(book, text) for text in paragraphs if 60 <= len(text) <= LONGEST_PAGE)
    return [page for page in made if page.sentences]


def groups(pages: Sequence[Page], count: int, rng: random.Random, written_share: float = 0.0) -> Iterator[list[Piece]]:
    """`count` framed groups, a share of them on the written texts; each ends where the end token goes."""
    for _ in range(count):
        group = draw(pages, rng, written_share)
        if group:
            yield framed(group)


def draw(pages: Sequence[Page], rng: random.Random, written_share: float = 0.0) -> list[Exercise]:
    """Exercises of one kind, on pages of one book or on the written texts."""
    # Without written texts nothing is drawn here: the first run's exercises stay as they were.
    on_written = bool(written_share) and rng.random() < written_share
    kinds, alone = (written_exercises.KINDS, WRITTEN_ALONE_SHARE) if on_written else (_KINDS, ALONE_SHARE)
    (kind,) = rng.choices(list(kinds), weights=list(kinds.values()))
    make = kind(rng)
    wanted = 1 if rng.random() < alone else rng.randint(2, LARGEST_GROUP)
    return _some(make, pages, wanted, rng)


def _some(make: Maker, pages: Sequence[Page], wanted: int, rng: random.Random) -> list[Exercise]:
    """As many exercises as are wanted, each on a page; fewer where too many pages give none."""
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
        prompt = before + PLAIN_FRAME.prompt_text(exercise.prompt)
        pieces.append(Piece(prompt, trained=exercise.prompt_learnt, answer=False))
        pieces.append(Piece(PLAIN_FRAME.completion_text(exercise.answer), trained=True, answer=True))
    return pieces
