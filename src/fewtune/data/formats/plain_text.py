"""Text without columns: one completion a line."""

from __future__ import annotations

from collections.abc import Iterator

from fewtune.data.formats.encoding import TextFile
from fewtune.data.formats.lines import lines_of
from fewtune.data.records import Record, Table
from fewtune.errors import DataError
from fewtune.types import Source

_COLUMN = "completion"


def read_plain_text(text: TextFile) -> Table:
    """Blank lines are skipped."""
    first = next(_records(text), None)
    if first is None:
        raise DataError("The file is empty.", where=text.name, fix="Give a file with one completion a line.")
    return Table(
        file=text.name,
        columns=(_COLUMN,),
        first_line=first.source.line,
        records=_records(text),
        notes=text.notes,
    )


def _records(text: TextFile) -> Iterator[Record]:
    for number, line in enumerate(lines_of(text), 1):
        if line.strip():
            yield Record(source=Source(file=text.name, line=number), values={_COLUMN: line.rstrip("\r\n")})
