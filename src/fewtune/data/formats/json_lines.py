"""JSON lines: one object a line."""

from __future__ import annotations

from collections.abc import Iterator

from fewtune.data.formats.encoding import TextFile
from fewtune.data.formats.json_values import invalid, record_of, value_of
from fewtune.data.formats.keys import table_of
from fewtune.data.formats.lines import lines_of
from fewtune.data.records import Record, Table
from fewtune.types import Source


def read_json_lines(text: TextFile, *notes: str) -> Table:
    """Blank lines are skipped. Raises DataError for a line that is no JSON object, or that holds a key twice."""
    return table_of(lambda: _records(text), text, *notes)


def _records(text: TextFile) -> Iterator[Record]:
    for number, line in enumerate(lines_of(text), 1):
        if line.strip():
            where = f"{text.name}:{number}"
            try:
                value = value_of(line)
            except (ValueError, RecursionError) as error:
                raise invalid(error, "This line", where, "Write one whole object a line.") from error
            record = record_of(value, line, 0, len(line), "This line", where)
            yield Record(source=Source(file=text.name, line=number), values=record)
