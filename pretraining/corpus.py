"""The books that the built-in base reads, and the eight that it never sees."""

from __future__ import annotations

import json
import lzma
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

HELD_OUT_LINES = (17, 71, 133, 199, 251, 307, 373, 431)
"""Line numbers, from 0, of the books that measure bits per byte; none is trained on."""

CURLY_SHARE = 0.1
"""Share of passages whose straight quotes become typographic ones: modern data has them, the books do not."""


@dataclass(frozen=True, kw_only=True)
class Book:
    line: int
    title: str
    author: str
    year: int | str
    text: str


def read_books(path: Path) -> Iterator[Book]:
    """Stream the books in file order, with line ends normalised to a single newline.

    Raises OSError where there is no such file, ValueError where it is cut short or is not what it should be.
    """
    try:
        with lzma.open(path, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines):
                yield _book(number, json.loads(line))
    except (EOFError, lzma.LZMAError, UnicodeDecodeError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is damaged or cut short: {error}") from error


def _book(line: int, row: Mapping[str, Any]) -> Book:
    return Book(line=line, title=row["title"], author=row["author"], year=row["year"], text=normalise(row["text"]))


def normalise(text: str) -> str:
    """Newlines as newlines, no byte-order marks inside the text, dashes as people type them today."""
    text = text.replace("\r\n", "\n").replace("\ufeff", "").replace("\u200b", "")
    return text.replace("--", "—")


def is_held_out(book: Book) -> bool:
    return book.line in HELD_OUT_LINES


def with_curly_quotes(text: str, rng: random.Random) -> str:
    """The same text, in CURLY_SHARE of the calls with typographic quotes and apostrophes."""
    if rng.random() >= CURLY_SHARE:
        return text
    opened = False
    characters: list[str] = []
    for character in text:
        if character == '"':
            opened = not opened
            character = "“" if opened else "”"
        elif character == "'":
            character = "’"
        characters.append(character)
    return "".join(characters)


def passages(book: Book, lengths: Iterator[int] | None = None) -> Iterator[str]:
    """Cut a book at paragraph ends into passages of about so many characters each, 4,000 if nothing is said."""
    lengths = lengths or repeat(4000)
    passage: list[str] = []
    size, length = 0, next(lengths)
    for paragraph in book.text.split("\n\n"):
        passage.append(paragraph)
        size += len(paragraph)
        if size >= length:
            yield "\n\n".join(passage)
            passage, size, length = [], 0, next(lengths)
    if passage:
        yield "\n\n".join(passage)
