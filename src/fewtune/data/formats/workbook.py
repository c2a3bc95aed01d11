"""XLSX workbooks: the first sheet that has rows, its cells as a person reads them."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from fewtune.data.columns import listed
from fewtune.data.formats.archive import unpacked_copy
from fewtune.data.formats.file import DataFile
from fewtune.data.formats.header import Row, column_names, header_place, title_note
from fewtune.data.formats.limits import MOST_CHARACTERS, size
from fewtune.data.formats.moments import duration, moment
from fewtune.data.formats.panic import translated
from fewtune.data.records import Record, Table
from fewtune.errors import DataError
from fewtune.types import Source

if TYPE_CHECKING:
    from python_calamine import CalamineSheet, CalamineWorkbook

_SAMPLE_ROWS = 100
_MOST_DIGITS = 1e15
"""Spreadsheets keep fifteen digits."""


@dataclass(frozen=True, kw_only=True)
class _Merged:
    """An area of cells that were made one; its rows are those of the sheet, its places those of a row's cells."""

    rows: range
    places: range


def read_workbook(file: DataFile) -> Table:
    """Hidden sheets are left out. The header is the first row, or the one below a title or below merged cells.

    Raises DataError for a workbook that is damaged, encrypted or hostile.
    """
    from python_calamine import CalamineError, CalamineWorkbook

    what, fix = "The workbook cannot be read", "Open it in a spreadsheet program and save it again as .xlsx or .csv."
    kinds = (CalamineError, OSError, ValueError, OverflowError)
    with unpacked_copy(file) as path, translated(kinds, what, file.name, fix):
        # The library types its paths as os.PathLike without saying of what.
        workbook = CalamineWorkbook.from_path(str(path))  # pyright: ignore[reportUnknownMemberType]
        sheet, notes = _first_with_rows(workbook, file.name)
    return _table(sheet, notes, file.name)


def _first_with_rows(workbook: CalamineWorkbook, name: str) -> tuple[CalamineSheet, tuple[str, ...]]:
    from python_calamine import SheetTypeEnum, SheetVisibleEnum

    shown = [
        sheet.name
        for sheet in workbook.sheets_metadata
        if sheet.typ == SheetTypeEnum.WorkSheet and sheet.visible == SheetVisibleEnum.Visible
    ]
    for candidate in shown:
        sheet = workbook.get_sheet_by_name(candidate)
        if next(_rows(sheet), None):
            others = [other for other in workbook.sheet_names if other != candidate]
            return sheet, _sheet_notes(candidate, others)
    raise DataError("The workbook has no row in any visible sheet.", where=name, fix="Give one with named columns.")


def _sheet_notes(chosen: str, others: Sequence[str]) -> tuple[str, ...]:
    return (f"The sheet {chosen!r} is read; not read: {listed(others)}.",) if others else ()


def _table(sheet: CalamineSheet, notes: tuple[str, ...], name: str) -> Table:
    sample = list(islice(_rows(sheet), _SAMPLE_ROWS))
    merged = list(_merged(sheet))
    place = header_place(sample)
    skipped_titles = title_note(sample[:place], sample[place][0], "row")
    if _is_group_of_columns(sample, place, merged):
        place += 1
        skipped_titles = title_note(sample[:place], sample[place][0], "row")
    line, header = sample[place]
    columns = column_names(_with_tall_cells(header, line, sample[:place], merged), f"{name}:{line}")
    if len(sample) == place + 1:
        raise DataError("There is a header but no row.", where=f"{name}:{line}", fix="Add rows below it.")
    return Table(
        file=name,
        columns=columns,
        first_line=line,
        records=_records(sheet, columns, line, name),
        notes=(*notes, *skipped_titles, *_merged_note(merged, line)),
    )


def _rows(sheet: CalamineSheet) -> Iterator[Row]:
    """Rows that are not empty, with their numbers in the sheet."""
    for number, cells in enumerate(sheet.iter_rows(), 1):
        texts = [_text(cell) for cell in cells]
        if any(texts):
            yield number, texts


def _records(sheet: CalamineSheet, columns: tuple[str, ...], header_line: int, name: str) -> Iterator[Record]:
    for line, cells in _rows(sheet):
        if line > header_line:
            if sum(map(len, cells)) > MOST_CHARACTERS:
                what, fix = f"This row is longer than {size(MOST_CHARACTERS)}.", "Shorten it, or leave it out."
                raise DataError(what, where=f"{name}:{line}", fix=fix)
            yield Record(source=Source(file=name, line=line), values=dict(zip(columns, cells, strict=True)))


def _text(cell: object) -> str:
    if isinstance(cell, str):
        return cell
    if isinstance(cell, bool):
        return str(cell).upper()
    if isinstance(cell, float):
        return str(int(cell)) if cell.is_integer() and abs(cell) < _MOST_DIGITS else f"{cell:.15g}"
    if isinstance(cell, datetime.timedelta):
        return duration(cell)
    return moment(cell) if isinstance(cell, datetime.date | datetime.time) else str(cell)


def _merged(sheet: CalamineSheet) -> Iterable[_Merged]:
    left = sheet.start[1] if sheet.start else 0
    for (first_row, first), (last_row, last) in sheet.merged_cell_ranges or ():
        yield _Merged(rows=range(first_row + 1, last_row + 2), places=range(first - left, last - left + 1))


def _is_group_of_columns(sample: Sequence[Row], place: int, merged: Sequence[_Merged]) -> bool:
    """Whether this row's cells stand above several columns each, whose names are in the next row.

    Where the next row's cells are merged as well, it is the form of the table, and says nothing.
    """
    if place + 2 >= len(sample):
        return False
    wide = [area for area in merged if len(area.places) > 1]
    line, below = sample[place][0], sample[place + 1][0]
    return any(line in area.rows for area in wide) and not any(below in area.rows for area in wide)


def _with_tall_cells(
    header: Sequence[str], line: int, above: Sequence[Row], merged: Sequence[_Merged]
) -> Sequence[str]:
    """The header's names, with those that stand in a cell merged over the rows above it and its own."""
    tall = [area for area in merged if len(area.places) == 1 and line in area.rows and area.rows[0] < line]
    tops = dict(above)
    names = {area.places[0]: tops[area.rows[0]][area.places[0]] for area in tall if area.rows[0] in tops}
    return [name or names.get(place, "") for place, name in enumerate(header)]


def _merged_note(merged: Sequence[_Merged], header_line: int) -> tuple[str, ...]:
    count = sum(area.rows[0] > header_line for area in merged)
    if not count:
        return ()
    cells = "In 1 place cells" if count == 1 else f"In {count:,} places cells"
    return (f"{cells} below the header are merged; only the first row and column of each holds the text.",)
