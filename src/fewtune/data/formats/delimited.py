"""CSV, TSV and their relatives: cells between delimiters, with a header."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain, islice

from fewtune.data.columns import other_separator
from fewtune.data.formats.encoding import TextFile
from fewtune.data.formats.header import Row, check_width, column_names, header_place, title_note
from fewtune.data.formats.limits import MOST_CHARACTERS, MOST_COLUMNS, size
from fewtune.data.formats.lines import lines_of
from fewtune.data.records import Record, Table
from fewtune.errors import DataError
from fewtune.types import Source

_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_LEAST_FIT = 0.5
"""Share of the sample's rows that must have as many cells as the header, for a delimiter that nobody promised."""
_SAMPLE_CHARACTERS = 1 << 18
_SAMPLE_LINES = 200
_SEP_LINE = re.compile(r'"?sep=([^\w\s"]|\t)"?\s*', re.IGNORECASE)
"""With this first line Excel tells itself the delimiter."""
_MATCH_QUOTES = 'Close every double quote that opens, and write a quote inside quotes twice: "say ""hello""".'


@dataclass(frozen=True, kw_only=True)
class _Layout:
    delimiter: str
    rows: Sequence[Row]
    """Of the sample, as the delimiter divides it."""
    header: int
    """Index among these rows."""

    @property
    def fit(self) -> float:
        """Share of the rows below the header that have as many cells."""
        below = self.rows[self.header + 1 :]
        return sum(len(cells) == self.width for _, cells in below) / len(below) if below else 1.0

    @property
    def width(self) -> int:
        return len(self.rows[self.header][1]) if self.rows else 0


def read_delimited(text: TextFile, *, promised: str) -> Table:
    """The delimiter is the promised one unless the header and the first rows speak for another; then a note says so.

    Blank lines are skipped and missing last cells are empty. Raises DataError for a row that has more cells than
    the header, and for quotes that do not match.
    """
    sample = _sample(text)
    told = _SEP_LINE.fullmatch(sample[0]) if sample else None
    layout = _layout(sample, text, told[1] if told else None, promised)
    line, header = layout.rows[layout.header]
    columns = column_names(header, f"{text.name}:{line}")
    if len(layout.rows) == layout.header + 1 and not _has_more(text, layout.delimiter, line):
        raise DataError("There is a header but no row.", where=text.name, fix="Add rows below it.")
    notes = () if layout.delimiter == promised else (f"The cells are separated by {_name(layout.delimiter)}.",)
    titles = title_note(layout.rows[: layout.header], line, "line")
    return Table(
        file=text.name,
        columns=columns,
        first_line=line,
        records=_records(text, layout.delimiter, columns, line),
        notes=(*text.notes, *notes, *titles),
    )


def _sample(text: TextFile) -> list[str]:
    """The first lines, at least one of them not blank where there is one."""
    sample: list[str] = []
    characters = 0
    for line in lines_of(text):
        if characters or line.strip():
            characters += len(line)
        sample.append(line)
        if characters >= _SAMPLE_CHARACTERS or (characters and len(sample) >= _SAMPLE_LINES):
            break
    return sample


def _layout(sample: Sequence[str], text: TextFile, told: str | None, promised: str) -> _Layout:
    """Raises DataError where there is nothing, or where the header cannot be read."""
    first = _divided_sample(sample, told or promised, text.name, skip=1 if told else 0)
    others = [] if told else [delimiter for delimiter in _NAMES if delimiter != promised]
    layouts = [_divided_sample(sample, delimiter, text.name, skip=0) for delimiter in others]
    better = [layout for layout in layouts if layout.width >= 2 and layout.fit >= _LEAST_FIT]
    rivals = better if first.width < 2 else [layout for layout in better if layout.fit > first.fit]
    best = max(rivals, key=lambda layout: (layout.fit, layout.width), default=first)
    if not best.rows:
        # The sample alone cannot tell whether the header is broken or only longer than the sample.
        rows = islice(divided(lines_of(text), best.delimiter, text.name), 2 if told else 1)
        best = replace(best, rows=[row for row in rows if not told or row[0] > 1])
    if not any(cell.strip() for _, cells in best.rows for cell in cells):
        raise DataError("The file is empty.", where=text.name, fix="Give a file with named columns and rows.")
    if best.width == 1:
        line, (only,) = best.rows[best.header]
        check_width(1 + max(map(only.count, others), default=0), f"{text.name}:{line}")
    return best


def _divided_sample(sample: Sequence[str], delimiter: str, name: str, *, skip: int) -> _Layout:
    """As far as it can be read: the sample may end inside a cell, and only one delimiter is the right one."""
    rows: list[Row] = []
    with suppress(DataError):
        rows.extend(divided(iter(sample), delimiter, name))
    rows = [row for row in rows if row[0] > skip]
    return _Layout(delimiter=delimiter, rows=rows, header=header_place(rows))


def _has_more(text: TextFile, delimiter: str, line: int) -> bool:
    """Raises DataError where the first row below the header cannot be read."""
    return any(number > line for number, _ in divided(lines_of(text), delimiter, text.name))


def _records(text: TextFile, delimiter: str, columns: tuple[str, ...], header_line: int) -> Iterator[Record]:
    width = len(columns)
    for line, cells in divided(lines_of(text), delimiter, text.name):
        if line <= header_line:
            continue
        if len(cells) != width:
            cells = _fitted(cells, columns, f"{text.name}:{line}", delimiter)
        yield Record(source=Source(file=text.name, line=line), values=dict(zip(columns, cells, strict=True)))


def _fitted(cells: list[str], columns: tuple[str, ...], where: str, delimiter: str) -> list[str]:
    """With as many cells as columns: missing last cells are empty, and empty ones too many are left out."""
    if any(cells[len(columns) :]):
        raise DataError(
            f"This row has {len(cells)} cells, the header {len(columns)}.",
            where=where,
            fix=other_separator(columns)
            or f'Put text that contains {_name(delimiter)} in double quotes, as in "well{delimiter} then".',
        )
    return cells[: len(columns)] + [""] * (len(columns) - len(cells))


def _name(delimiter: str) -> str:
    return _NAMES.get(delimiter, repr(delimiter))


def divided(lines: Iterator[str], delimiter: str, name: str) -> Iterator[tuple[int, list[str]]]:
    """Each record that is not a blank line, with the line on which it begins."""
    number = 1
    for line in lines:
        if '"' in line:
            cells, count = _quoted(line, lines, delimiter, f"{name}:{number}")
        else:
            if len(line) > MOST_COLUMNS:
                check_width(line.count(delimiter) + 1, f"{name}:{number}")
            content = line.rstrip("\r\n")
            cells, count = content.split(delimiter) if content else None, 1
        if cells:
            yield number, cells
        number += count


def _quoted(line: str, lines: Iterator[str], delimiter: str, where: str) -> tuple[list[str], int]:
    """The cells of the record that begins with a line, and the number of its lines."""
    reader = csv.reader(chain((line,), _bounded(lines, len(line), where)), delimiter=delimiter, strict=True)
    # The module's limit belongs to the whole process, so it is put back at once; what counts is the bound above.
    usual = csv.field_size_limit(4 * MOST_CHARACTERS)
    try:
        cells = next(reader)
    except csv.Error as error:
        what = f"The quotes of the row that begins here do not match: {error}."
        if "end of data" in str(error):
            what = "A double quote opens in the row that begins here and is never closed."
        raise DataError(what, where=where, fix=_MATCH_QUOTES) from error
    finally:
        csv.field_size_limit(usual)
    check_width(len(cells), where)
    return cells, reader.line_num


def _bounded(lines: Iterator[str], characters: int, where: str) -> Iterator[str]:
    """A quote that is never closed would otherwise swallow the rest of the file before it is told."""
    for line in lines:
        characters += len(line)
        if characters > MOST_CHARACTERS:
            what = f"The row that begins here is longer than {size(MOST_CHARACTERS)}; perhaps a quote is not closed."
            raise DataError(what, where=where, fix=_MATCH_QUOTES)
        yield line
