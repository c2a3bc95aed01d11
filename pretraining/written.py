"""Texts of today, written for this project: messages, notes and synopses, where the books have none.

They lie in `written/`, one file a place, a trade or a group of genres. No line comes from the example data.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pretraining.notes import Note

FOLDER = Path(__file__).with_name("written")


@dataclass(frozen=True, kw_only=True)
class Subject:
    names: tuple[str, ...]
    """What a clerk might call it."""
    messages: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where messages go to, sorted by subject."""

    name: str
    subjects: tuple[Subject, ...]


@dataclass(frozen=True, kw_only=True)
class OrderBook:
    """The notes of one trade, each with what it says."""

    flag: str
    """What `Note.flag` is called there."""
    notes: tuple[Note, ...]


@dataclass(frozen=True, kw_only=True)
class Synopsis:
    title: str
    text: str


@cache
def places() -> tuple[Place, ...]:
    return tuple(_place(path) for path in _files("messages/*.txt"))


@cache
def order_books() -> tuple[OrderBook, ...]:
    return tuple(_order_book(path) for path in _files("notes/*.jsonl"))


@cache
def synopses() -> tuple[Synopsis, ...]:
    return tuple(one for path in _files("synopses/*.txt") for one in titled_lines(path))


def titled_lines(path: Path) -> Iterator[Synopsis]:
    """A title and a synopsis a line. Raises ValueError where a line is not so."""
    for line in _lines(path):
        title, text = line.split(" | ")
        yield Synopsis(title=title, text=text)


def _files(pattern: str) -> list[Path]:
    return sorted(FOLDER.glob(pattern))


def _lines(path: Path) -> Iterator[str]:
    """Those that are neither empty nor the comment at the head."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("# "):
            yield line


def _place(path: Path) -> Place:
    """`[one name | another]` heads the messages of a subject."""
    found: list[tuple[tuple[str, ...], list[str]]] = []
    for line in _lines(path):
        if line.startswith("["):
            found.append((tuple(name.strip() for name in line.strip("[]").split("|")), []))
        else:
            found[-1][1].append(line)
    subjects = (Subject(names=names, messages=tuple(messages)) for names, messages in found)
    return Place(name=path.stem.replace("_", " "), subjects=tuple(subjects))


def _order_book(path: Path) -> OrderBook:
    head, *notes = (json.loads(line) for line in _lines(path))
    return OrderBook(flag=head["flag"].replace(" ", "_"), notes=tuple(Note(**note) for note in notes))
