"""What a file holds before its two columns are chosen, as the old tool saw it through pandas."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from fewtune.errors import DataError

_WORDS = "#N/A #NA -1.#IND -1.#QNAN -NaN -nan 1.#IND 1.#QNAN <NA> N/A NA NULL NaN None n/a nan null"
MISSING_WORDS = frozenset(("", "#N/A N/A", *_WORDS.split()))
"""Cells of a table that mean nothing is there."""


@dataclass(frozen=True, kw_only=True)
class Frame:
    """Named columns of equal length; a column becomes text only when it is asked for."""

    columns: tuple[Hashable, ...]
    """In a workbook a name need not be text."""
    cells: Sequence[Sequence[Any]]
    """By column."""
    labels: Sequence[Hashable]
    """One a row. They are row numbers as a rule, but a table with nameless first columns is labelled by these, and
    the old tool dropped rows by label."""
    as_text: Callable[[Sequence[Any]], list[str]]
    """Turns one column into text; what is missing is empty."""
    converted: bool
    """Whether the format alone is reason enough to write a new file: all but JSON lines."""


def table_text(cells: Sequence[str]) -> list[str]:
    """A column of a CSV or TSV file."""
    return ["" if cell in MISSING_WORDS else cell for cell in cells]


def refusal(what: str, file: str, fix: str) -> DataError:
    """The error for a file that the old tool refused, or on which it broke off."""
    return DataError(what, where=file, fix=fix)
