from __future__ import annotations

import datetime
import io
from collections.abc import Callable
from typing import Any

import openpyxl
import pytest
from openpyxl.worksheet.worksheet import Worksheet

from data.formats.conftest import OpenTable, WriteFile
from fewtune.data.formats import open_data
from fewtune.data.records import Table
from fewtune.errors import DataError


def workbook(*sheets: Callable[[Worksheet], None]) -> bytes:
    """Sheets named One, Two and so on, each filled by its function."""
    book = openpyxl.Workbook()
    book.remove(book.worksheets[0])
    for name, fill in zip(("One", "Two", "Three"), sheets, strict=False):
        fill(book.create_sheet(name))
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()


def holding(*rows: list[Any], merged: tuple[str, ...] = ()) -> Callable[[Worksheet], None]:
    def fill(sheet: Worksheet) -> None:
        for row in rows:
            sheet.append(row)
        for area in merged:
            sheet.merge_cells(area)

    return fill


def hidden(sheet: Worksheet) -> None:
    sheet.append(["x"])
    sheet.sheet_state = "hidden"


def rows(table: Table) -> list[tuple[int, list[str]]]:
    return [(record.source.line, list(record.values.values())) for record in table.records]


def test_cells_are_text_as_a_person_reads_them(opened: OpenTable) -> None:
    moment = datetime.datetime(2024, 1, 31, 13, 45)
    cells = [3.0, 3.5, 0.1 + 0.2, True, datetime.date(2024, 1, 31), moment, datetime.timedelta(hours=25, minutes=30)]
    table = opened("cells.xlsx", workbook(holding([*"abcdefg"], cells, [" x ", 12345678901, -1e20, False, "", None])))
    assert rows(table) == [
        (2, ["3", "3.5", "0.3", "TRUE", "2024-01-31", "2024-01-31 13:45:00", "25:30:00"]),
        (3, [" x ", "12345678901", "-1e+20", "FALSE", "", "", ""]),
    ]


def test_error_cells_are_read_as_their_text(opened: OpenTable) -> None:
    def fill(sheet: Worksheet) -> None:
        holding(["prompt", "completion"], ['<c t="e">', "#N/A"])(sheet)
        sheet["B2"].data_type = "e"

    assert rows(opened("errors.xlsx", workbook(fill))) == [(2, ['<c t="e">', "#N/A"])]


def test_the_line_is_the_number_of_the_row_in_the_sheet(opened: OpenTable) -> None:
    def fill(sheet: Worksheet) -> None:
        for place, text in {"C4": "prompt", "D4": "completion", "C5": "a", "D5": "b", "C9": "c", "D9": "d"}.items():
            sheet[place] = text

    table = opened("offset.xlsx", workbook(fill))
    assert (table.columns, table.first_line) == (("prompt", "completion"), 4)
    assert rows(table) == [(5, ["a", "b"]), (9, ["c", "d"])]


def test_the_first_visible_sheet_with_rows_is_read_and_the_others_are_told(opened: OpenTable) -> None:
    table = opened("sheets.xlsx", workbook(hidden, holding(), holding(["prompt", "completion"], ["a", "b"])))
    assert rows(table) == [(2, ["a", "b"])]
    assert table.notes == ("The sheet 'Three' is read; not read: 'One', 'Two'.",)


def test_a_title_merged_over_the_header_is_passed_over_and_told(opened: OpenTable) -> None:
    content = workbook(holding(["Questions"], ["prompt", "completion"], ["a", "b"], ["c", "d"], merged=("A1:B1",)))
    table = opened("title.xlsx", content)
    assert (table.columns, table.first_line) == (("prompt", "completion"), 2)
    assert "row 2" in table.notes[0] and "'Questions'" in table.notes[0]


def test_below_merged_groups_the_names_of_the_columns_count(opened: OpenTable) -> None:
    groups = ["id", "Input", None, "Output", None]
    names = [None, "title", "year", "text", "label"]
    areas = ("A1:A2", "B1:C1", "D1:E1")
    table = opened("groups.xlsx", workbook(holding(groups, names, [1, "a", 2, "b", "c"], merged=areas)))
    assert table.columns == ("id", "title", "year", "text", "label")
    assert table.first_line == 2
    assert "'id'" in table.notes[0]


def test_a_header_merged_over_two_rows_is_a_header(opened: OpenTable) -> None:
    header = ["prompt", "completion"]
    table = opened("tall.xlsx", workbook(holding(header, [None, None], ["a", "b"], merged=("A1:A2", "B1:B2"))))
    assert (table.columns, table.notes) == (("prompt", "completion"), ())
    assert rows(table) == [(3, ["a", "b"])]


def test_merged_cells_among_the_records_are_told(opened: OpenTable) -> None:
    content = workbook(holding(["text", "label"], ["a", "x"], ["b", None], ["c", "y"], merged=("B2:B3",)))
    table = opened("merged.xlsx", content)
    assert rows(table)[1] == (3, ["b", ""])
    assert "1 place" in table.notes[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"prompt,completion\na,b\n", "no ZIP archive"),
        (b"PK\x03\x04nothing of an archive", "archive is damaged"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 old", r"old Office file \(.xls\)"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "EncryptedPackage".encode("utf-16-le"), "is encrypted"),
        (workbook(holding()), "no row in any visible sheet"),
        (workbook(holding(["prompt", "completion"])), "a header but no row"),
        (workbook(holding(["a", "a"], [1, 2])), "same name"),
        (workbook(holding(["a", "b"], [1, 2]))[:-200], "archive is damaged"),
    ],
)
def test_what_is_no_readable_workbook_is_told_with_a_remedy(write: WriteFile, content: bytes, message: str) -> None:
    path = write("broken.xlsx", content)
    with pytest.raises(DataError, match=message) as caught:
        open_data(str(path))
    assert str(caught.value.where).startswith(str(path))
    assert caught.value.fix
