"""CSV and TSV, cell by cell as pandas' C parser cuts them."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Hashable, Iterator, Sequence
from itertools import zip_longest

from fewtune.data.legacy_completions.frame import MISSING_WORDS, Frame, refusal, table_text

_BYTE_ORDER_MARK = "\ufeff"
_LINE_OF_BLANKS = re.compile(r"^[ \t]+\r?$", re.MULTILINE)


def read_delimited(text: str, file: str, delimiter: str) -> Frame:
    """A table whose first line names the columns; short rows are filled up, and blank lines skipped.

    Where the first row has more cells than the header, its first cells are labels, not data; so for all rows.
    Raises DataError for a longer row, for an open quote and for a file without a line.
    """
    text = text.removeprefix(_BYTE_ORDER_MARK)
    records = _records(text, file, delimiter)
    if not records:
        raise refusal("The file is empty.", file, "Give a file with named columns and rows.")
    header, *rows = records
    width = max(len(header), len(rows[0]) if rows else 0)
    if max(map(len, rows), default=0) > width:
        raise _too_wide(text, file, delimiter, width)
    cells: list[Sequence[str]] = list(zip_longest(*rows, fillvalue=""))
    cells += [[""] * len(rows)] * (width - len(cells))
    named = width - len(header)
    return Frame(
        columns=tuple(header),
        cells=cells[named:],
        labels=_labels(cells[:named]) or range(len(rows)),
        as_text=table_text,
        converted=True,
    )


def _too_wide(text: str, file: str, delimiter: str, width: int) -> Exception:
    records = _exact_records(text, file, delimiter)
    offset, cells = next((offset, cells) for offset, cells in list(records)[1:] if len(cells) > width)
    what = f"This row has {len(cells)} cells where {width} are expected."
    return refusal(what, f"{file}:{_line(text, offset)}", "Put text that holds the separator in double quotes.")


def _line(text: str, offset: int) -> int:
    return len(re.findall(r"\r\n|\r|\n", text[:offset])) + 1


def _records(text: str, file: str, delimiter: str) -> list[list[str]]:
    if not _has_odd_lines(text):
        try:
            reader = csv.reader(io.StringIO(text, newline="\n"), delimiter=delimiter, strict=True)
            return [record for record in reader if record]
        except csv.Error:
            pass  # Quotes that only a lenient reader takes, or a very long cell: the exact way decides.
    return [cells for _, cells in _exact_records(text, file, delimiter)]


def _has_odd_lines(text: str) -> bool:
    """Whether Python's csv module may cut otherwise than pandas: old Macs' line breaks, lines of nothing but blanks."""
    if "\r" in text and text.count("\r") != text.count("\r\n"):
        return True
    may_be_blank = text.startswith((" ", "\t")) or "\n " in text or "\n\t" in text
    return may_be_blank and bool(_LINE_OF_BLANKS.search(text))


def _exact_records(text: str, file: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Each record with the offset at which it begins; slower than the csv module, and exact for every input."""
    blanks = re.compile("[ \t]*" if delimiter == "," else " *")
    plain = re.compile(rf"[^{delimiter}\r\n]*")
    position = 0
    while position < len(text):
        after_blanks = _end(blanks, text, position)
        if after_blanks == len(text):
            return
        if text[after_blanks] in "\r\n":
            position = _after_blank_line(text, after_blanks, delimiter)
            continue
        start, cells = position, list[str]()
        while True:
            cell, position = _cell(text, position, plain, file)
            cells.append(cell)
            if text[position : position + 1] != delimiter:
                break
            position += 1
        yield start, cells
        position += 2 if text.startswith("\r\n", position) else 1


def _after_blank_line(text: str, position: int, delimiter: str) -> int:
    # A lone carriage return after a blank line takes a separator with it: pandas does so.
    if text[position] == "\r" and text[position + 1 : position + 2] in ("\n", delimiter):
        return position + 2
    return position + 1


def _cell(text: str, position: int, plain: re.Pattern[str], file: str) -> tuple[str, int]:
    """The cell that begins here, and where it ends; what follows a closing quote belongs to it."""
    quoted: list[str] = []
    if text.startswith('"', position):
        start = position
        while True:
            closing = text.find('"', position + 1)
            if closing < 0:
                fix = 'Close every double quote that opens, and write a quote inside quotes twice: "say ""hello""".'
                raise refusal("A double quote opens here and is never closed.", f"{file}:{_line(text, start)}", fix)
            quoted.append(text[position + 1 : closing])
            position = closing + 1
            if not text.startswith('"', position):
                break
            quoted.append('"')
    end = _end(plain, text, position)
    return "".join(quoted) + text[position:end], end


def _end(pattern: re.Pattern[str], text: str, position: int) -> int:
    found = pattern.match(text, position)
    return found.end() if found else position


def _labels(columns: Sequence[Sequence[str]]) -> list[Hashable]:
    """One text a row, or several; they stay text even where they look like numbers."""
    texts: list[list[Hashable]] = [[None if cell in MISSING_WORDS else cell for cell in column] for column in columns]
    return texts[0] if len(texts) == 1 else list(zip(*texts, strict=True))
