"""One exercise, what it is made from, and how a kind of exercise is written down."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from pretraining.corpus import Book


@dataclass(frozen=True, kw_only=True)
class Exercise:
    prompt: str
    answer: str
    prompt_learnt: bool = False
    """Whether the prompt is a text to learn from as well; the answer always is."""


@dataclass(frozen=True)
class Page:
    """A paragraph of a book, on one line."""

    book: Book
    paragraph: str

    @cached_property
    def sentences(self) -> list[str]:
        return [sentence for sentence in _SENTENCE_END.split(self.paragraph) if len(sentence.split()) > 2]


_SENTENCE_END = re.compile(r"(?<=[.!?][\"”’]) (?=[A-Z\"“])|(?<=[.!?]) (?=[A-Z\"“])")

Maker = Callable[[Page, random.Random], Exercise | None]
"""One exercise from a page, or None where the page does not give one."""

Kind = Callable[[random.Random], Maker]
"""Draws what all exercises of a group share, such as the names of fields, and gives their maker."""


def asked(ask: str, text: str) -> str:
    """A prompt with an instruction before the text; without one where `ask` is empty."""
    return f"{ask}: {text}" if ask else text
