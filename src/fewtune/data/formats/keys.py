"""Columns of records that carry their own keys, as in JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

from fewtune.data.formats.encoding import TextFile
from fewtune.data.formats.header import check_width
from fewtune.data.records import Record, Table
from fewtune.errors import DataError

_FIRST = 1000
"""So many records stand for all."""


def table_of(records: Callable[[], Iterator[Record]], text: TextFile, *notes: str) -> Table:
    """A table whose columns are the keys of the first records. Raises DataError where there is no record."""
    columns: dict[str, None] = {}
    first_line = 0
    for record in islice(records(), _FIRST):
        first_line = first_line or record.source.line
        columns.update(dict.fromkeys(record.values))
        check_width(len(columns), str(record.source))
    if not first_line:
        raise DataError("The file is empty.", where=text.name, fix="Give a file with records.")
    return Table(
        file=text.name,
        columns=tuple(columns),
        first_line=first_line,
        records=records(),
        notes=(*text.notes, *notes),
    )
