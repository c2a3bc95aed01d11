"""CSV and TSV, cell by cell as pandas' C parser cuts them."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from fewtune.data.legacy_completions.frame import MISSING_WORDS, Frame, refusal, table_text

_BYTE_ORDER_MARK = "\ufeff"
_BREAK = re.compile(r"\r\n|\r|\n")
_CHUNK_BYTES = 1 << 18
_LINE_OF_BLANKS = re.compile(r"^[ \t]+\r?$", re.MULTILINE)


def read_delimited(data: bytes, file: str, delimiter: str) -> Frame:
    """A table whose first line names the columns; short rows are filled up, and blank lines skipped.

    Where the first row has more cells than the header, its first cells are labels, not data; so for all rows.
    Raises DataError for a longer row, for an open quote and for a file without a line, UnicodeDecodeError for what is
    not UTF-8.
    """
    source = _Source(
        text=data.decode().removeprefix(_BYTE_ORDER_MARK), file=file, delimiter=delimiter, seams=_seams(data, delimiter)
    )
    records = _records(source)
    if not records:
        raise refusal("The file is empty.", file, "Give a file with named columns and rows.")
    header, *rows = records
    width = max(len(header), len(rows[0]) if rows else 0)
    if max(map(len, rows), default=0) > width:
        raise _too_wide(source, width)
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


@dataclass(frozen=True, kw_only=True)
class _Source:
    text: str
    file: str
    delimiter: str
    seams: Sequence[int]
    """Where pandas began to read another chunk amid the blanks at the beginning of a line: it forgets those before."""

    def place(self, offset: int) -> str:
        return f"{self.file}:{len(_BREAK.findall(self.text[:offset])) + 1}"


def _seams(data: bytes, delimiter: str) -> list[int]:
    blanks = b" \t".replace(delimiter.encode(), b"")
    beginnings = (b"\n", b"\r", b"\r" + delimiter.encode())
    seams: list[int] = []
    for start in range(_CHUNK_BYTES, len(data), _CHUNK_BYTES):
        before = data[max(0, start - _CHUNK_BYTES) : start]
        rest = before.rstrip(blanks)
        if len(rest) < len(before) and (not rest or rest.endswith(beginnings)):
            seams.append(len(data[:start].decode().removeprefix(_BYTE_ORDER_MARK)))
    return seams


def _too_wide(source: _Source, width: int) -> Exception:
    records = list(_exact_records(source))[1:]
    offset, cells = next((offset, cells) for offset, cells in records if len(cells) > width)
    what = f"This row has {len(cells)} cells where {width} are expected."
    return refusal(what, source.place(offset), "Put text that holds the separator in double quotes.")


def _records(source: _Source) -> list[list[str]]:
    if not source.seams and not _has_odd_lines(source.text):
        try:
            lines = io.StringIO(source.text, newline="\n")
            reader = csv.reader(lines, delimiter=source.delimiter, strict=True)
            return [record for record in reader if record]
        except csv.Error:
            pass  # Quotes that only a lenient reader takes, or a very long cell: the exact way decides.
    return [cells for _, cells in _exact_records(source)]


def _has_odd_lines(text: str) -> bool:
    """Whether Python's csv module may cut otherwise than pandas: old Macs' line breaks, lines of nothing but blanks."""
    if "\r" in text and text.count("\r") != text.count("\r\n"):
        return True
    may_be_blank = text.startswith((" ", "\t")) or "\n " in text or "\n\t" in text
    return may_be_blank and bool(_LINE_OF_BLANKS.search(text))


def _exact_records(source: _Source) -> Iterator[tuple[int, list[str]]]:
    """Each record with the offset at which it begins; slower than the csv module, and exact for every input."""
    text, delimiter = source.text, source.delimiter
    blanks = re.compile("[ \t]*" if delimiter == "," else " *")
    plain = re.compile(rf"[^{delimiter}\r\n]*")
    line = position = 0
    while position < len(text):
        after_blanks = _end(blanks, text, position)
        if after_blanks == len(text):
            return
        if text[after_blanks] in "\r\n":
            line = position = _after_break(text, after_blanks)
            # A lone carriage return after a blank line takes a separator with it, if no blank follows: so does pandas.
            if text[line - 1] == "\r" and text.startswith(delimiter, line):
                position += 1
            continue
        if after_blanks > position:
            position = max((seam for seam in source.seams if line < seam <= after_blanks), default=line)
        cells: list[str] = []
        while True:
            cell, position = _cell(source, position, plain)
            cells.append(cell)
            if text[position : position + 1] != delimiter:
                break
            position += 1
        yield line, cells
        line = position = _after_break(text, position)


def _after_break(text: str, position: int) -> int:
    return position + (2 if text.startswith("\r\n", position) else 1)


def _cell(source: _Source, position: int, plain: re.Pattern[str]) -> tuple[str, int]:
    """The cell that begins here, and where it ends; what follows a closing quote belongs to it."""
    text = source.text
    quoted: list[str] = []
    if text.startswith('"', position):
        start = position
        while True:
            closing = text.find('"', position + 1)
            if closing < 0:
                fix = 'Close every double quote that opens, and write a quote inside quotes twice: "say ""hello""".'
                raise refusal("A double quote opens here and is never closed.", source.place(start), fix)
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
