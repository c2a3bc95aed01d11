"""The first sheet of an XLSX workbook, cell by cell as pandas takes it from openpyxl."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError
from zipfile import BadZipFile, ZipFile
from zlib import error as ZlibError

from fewtune.data.legacy_completions.frame import MISSING_WORDS, Frame, refusal
from fewtune.data.legacy_completions.workbook_package import MAIN, Package, open_package, text_of

_PLACE = re.compile(r"\$?([A-Za-z]{1,3})\$?[0-9]+")
# What zipfile, zlib, the XML parser and our own look at the numbers raise.
_DAMAGE = (BadZipFile, EOFError, ZlibError, ParseError, ArithmeticError, LookupError, RuntimeError, ValueError)
_MILLISECONDS_A_DAY = 86_400_000
_MOST_ROWS = 1 << 20
_MOST_CELLS = 1 << 26


def read_workbook(path: Path, file: str) -> Frame:
    """The first sheet; its first row names the columns."""
    try:
        with ZipFile(path) as archive:
            rows = _trimmed(_rows(open_package(archive)))
    except _DAMAGE as error:
        raise refusal(f"The workbook cannot be read: {error}.", file, "Save it again as XLSX, or as CSV.") from error
    if not rows:
        raise refusal("The first sheet is empty.", file, "Put the rows on the first sheet, below named columns.")
    header, *data = rows
    cells: list[Sequence[Any]] = list(zip(*data, strict=True))
    return Frame(
        columns=tuple(f"Unnamed: {number}" if name == "" else name for number, name in enumerate(header)),
        cells=cells or [()] * len(header),
        labels=range(len(data)),
        as_text=_text,
        converted=True,
    )


def _text(cells: Sequence[Any]) -> list[str]:
    return ["" if cell is None or cell in MISSING_WORDS else str(cell) for cell in cells]


def _trimmed(rows: Iterator[list[Any]]) -> list[list[Any]]:
    """Rows of equal length, without what is empty below and on the right."""
    kept: list[list[Any]] = []
    size = 0
    for row in rows:
        while row and row[-1] == "":
            row.pop()
        kept.append(row)
        size += len(row)
        if size > _MOST_CELLS:
            raise ValueError(f"its first {len(kept):,} rows have {size:,} cells")
    while kept and not kept[-1]:
        kept.pop()
    width = max(map(len, kept), default=0)
    if width * len(kept) > _MOST_CELLS:
        raise ValueError(f"it has {len(kept):,} rows and {width:,} columns")
    return [row + [""] * (width - len(row)) for row in kept]


def _rows(package: Package) -> Iterator[list[Any]]:
    """Each row from the first, also those that are left out in the file; what is empty is empty text."""
    number = given = 0
    for element in package.rows:
        number = int(float(element.get("r", number + 1)))
        if number > _MOST_ROWS:
            raise ValueError(f"there is a row {number:,}")
        while given < number - 1:
            given += 1
            yield []
        if given < number:
            given += 1
            yield _row(element, package)


def _row(element: Element, package: Package) -> list[Any]:
    cells: dict[int, Any] = {}
    column = 0
    for cell in element:
        place = cell.get("r")
        column = _column(place) if place else column + 1
        cells[column] = _value(cell, package)
    # openpyxl takes the last cell of a row for the rightmost one.
    return [cells.get(number, "") for number in range(1, column + 1)]


def _column(place: str) -> int:
    found = _PLACE.fullmatch(place)
    if not found:
        raise ValueError(f"there is no cell {place}")
    number = 0
    for letter in found[1].upper():
        number = number * 26 + ord(letter) - ord("A") + 1
    return number


def _value(cell: Element, package: Package) -> Any:
    """None for an error, which is missing; empty text for an empty cell."""
    kind = cell.get("t", "n")
    if kind == "inlineStr":
        inline = cell.find(f"{MAIN}is")
        return "" if inline is None else text_of(inline)
    written = cell.findtext(f"{MAIN}v")
    if not written:
        return ""
    match kind:
        case "n":
            return _number(written, int(cell.get("s", 0)), package)
        case "s":
            return package.texts[int(written)]
        case "b":
            return bool(int(written))
        case "d":
            return _moment(written)
        case "e":
            return None
        case _:
            return written


def _number(written: str, style: int, package: Package) -> Any:
    value = float(written) if any(sign in written for sign in ".eE") else int(written)
    if style not in package.dates:
        return int(value) if value == int(value) else value
    try:
        return _duration(value) if style in package.durations else _date(value, package)
    except (OverflowError, ValueError):
        return None


def _duration(days: float) -> timedelta:
    exact = timedelta(days=days)
    if not exact.microseconds:
        return exact
    return timedelta(seconds=exact.total_seconds() // 1, microseconds=round(exact.microseconds, -3))


def _date(days: float, package: Package) -> datetime | time:
    """To the millisecond; Excel's calendar of 1900 has a 29th of February that never was."""
    whole, part = divmod(days, 1)
    rest = timedelta(milliseconds=round(part * _MILLISECONDS_A_DAY))
    if 0 <= days < 1 and not rest.days:
        return (datetime.min + rest).time()
    if package.since_1904:
        return datetime(1904, 1, 1) + timedelta(days=whole) + rest
    return datetime(1899, 12, 30) + timedelta(days=whole + (0 < days < 60)) + rest


def _moment(written: str) -> datetime | date | time:
    """A date that is written out, as ISO 8601 has it."""
    written = written.removesuffix("Z")
    if "T" in written.lstrip("T"):
        return datetime.fromisoformat(written)
    return time.fromisoformat(written.lstrip("T")) if ":" in written else date.fromisoformat(written)
