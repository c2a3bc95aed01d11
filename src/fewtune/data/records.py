"""What every file format is read into: records with named values, one after another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fewtune.types import Source


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """One record as it stands in the file; nothing is trimmed, and no type is guessed."""

    source: Source
    values: Mapping[str, Any]
    """By column. A cell of a table is text; in JSON and Parquet a value may be any JSON value, and a key may be
    missing. A JSON number that is not an integer is a `Number`, which remembers how it was written."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """The records of one file or sheet, read as they are asked for, once."""

    file: str
    """As the user would name it."""
    columns: tuple[str, ...]
    """In the order of the file; in JSON lines those of the first records, which stand for all."""
    first_line: int
    """Where the columns are named: the header, or the first record."""
    records: Iterator[Record]
    notes: tuple[str, ...] = ()
    """What a reader had to find out, as sentences: an encoding, a delimiter, a header below the first line."""


class Number(float):
    """A JSON number that remembers how it was written: 1.50 is not 1.5."""

    written: str

    def __new__(cls, written: str) -> Number:
        number = super().__new__(cls, written)
        number.written = written
        return number
