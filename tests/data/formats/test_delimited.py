from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.formats.conftest import OpenTable, WriteFile
from fewtune.data.formats import open_data
from fewtune.data.records import Table
from fewtune.errors import DataError


def rows(table: Table) -> list[tuple[int, list[str]]]:
    return [(record.source.line, list(record.values.values())) for record in table.records]


def test_a_quoted_line_break_stays_inside_its_cell(opened: OpenTable) -> None:
    table = opened("breaks.csv", 'prompt,completion\n"a\nb\n\nc",1\n\n\nd,"2\n"\ne,3\n')
    assert rows(table) == [(2, ["a\nb\n\nc", "1"]), (8, ["d", "2\n"]), (10, ["e", "3"])]


@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\r"])
def test_every_kind_of_line_break_ends_a_record_and_is_counted(opened: OpenTable, line_break: str) -> None:
    text = line_break.join(["prompt,completion", f'"a{line_break}b",1', "c,2", ""])
    assert rows(opened("breaks.csv", text)) == [(2, [f"a{line_break}b", "1"]), (4, ["c", "2"])]


def test_cells_are_text_exactly_as_they_stand(opened: OpenTable) -> None:
    table = opened("cells.csv", 'prompt,completion\n  007,1.50\nNaN,5" nail\n"say ""hello""", 2020-01-01 \n')
    assert [cells for _, cells in rows(table)] == [
        ["  007", "1.50"],
        ["NaN", '5" nail'],
        ['say "hello"', " 2020-01-01 "],
    ]


def test_an_unusual_separator_ends_no_line(opened: OpenTable) -> None:
    assert rows(opened("odd.csv", "a,b\nx\u2028y,\x0b\x85\x1c\n")) == [(2, ["x\u2028y", "\x0b\x85\x1c"])]


def test_all_sources_share_the_name_of_the_file(opened: OpenTable) -> None:
    table = opened("name.csv", "a,b\n1,2\n3,4\n")
    assert {id(record.source.file) for record in table.records} == {id(table.file)}


@pytest.mark.parametrize(
    ("delimiter", "name"), [(";", "semicolons"), ("\t", "tabs"), ("|", "bars"), (",", None)], ids=str
)
def test_the_delimiter_is_found_and_told_where_the_ending_promises_another(
    opened: OpenTable, delimiter: str, name: str | None
) -> None:
    lines = [["prompt", "completion"], [f'"well{delimiter} then, yes; or | no"', "1"], ["Hello, you", "2"]]
    lines[2][0] = lines[2][0].replace(delimiter, "")
    table = opened("data.csv", "\n".join(delimiter.join(cells) for cells in lines))
    assert table.columns == ("prompt", "completion")
    assert table.notes == ((f"The cells are separated by {name}.",) if name else ())
    assert len(rows(table)) == 2


def test_tabs_are_what_the_ending_tsv_promises(opened: OpenTable) -> None:
    table = opened("data.TSV", "prompt\tcompletion\na, b\tc\n")
    assert (table.notes, rows(table)) == ((), [(2, ["a, b", "c"])])


def test_a_single_column_stays_one_although_a_text_has_commas(opened: OpenTable) -> None:
    table = opened("single.csv", 'completion\nHello\n"Well, then"\nYes\n')
    assert (table.columns, table.first_line, len(rows(table))) == (("completion",), 1, 3)


def test_the_line_with_which_excel_tells_the_delimiter_is_no_record(opened: OpenTable) -> None:
    table = opened("excel.csv", "sep=;\r\nprompt;completion\r\n1,5;b\r\n")
    assert (table.first_line, rows(table)) == (2, [(3, ["1,5", "b"])])


@pytest.mark.parametrize("title", ["Report of March", "Report of March,,", ",,\nReport of March,,\n\n,,"])
def test_a_title_above_the_header_is_passed_over_and_told(opened: OpenTable, title: str) -> None:
    table = opened("report.csv", f"{title}\nprompt,completion,id\na,b,1\nc,d,2\n")
    assert table.columns == ("prompt", "completion", "id")
    assert table.first_line == title.count("\n") + 2
    assert [cells for _, cells in rows(table)] == [["a", "b", "1"], ["c", "d", "2"]]
    assert "'Report of March'" in table.notes[0] and f"line {table.first_line}" in table.notes[0]


def test_missing_last_cells_are_empty_and_empty_cells_too_many_are_nothing(opened: OpenTable) -> None:
    assert rows(opened("short.csv", "a,b\n1\n2,\n3,4,,\n")) == [(2, ["1", ""]), (3, ["2", ""]), (4, ["3", "4"])]


def test_columns_without_a_name_are_called_by_their_place(opened: OpenTable) -> None:
    assert opened("index.csv", ",Prompt, x \n5,a,b\n").columns == ("unnamed column 1", "Prompt", "x")


def test_a_cell_longer_than_the_csv_module_allows_is_read_and_its_limit_left_alone(opened: OpenTable) -> None:
    before = csv.field_size_limit()
    ((_, cells),) = rows(opened("long.csv", f'a,b\n"{"x," * 200_000}",1\n'))
    assert len(cells[0]) == 400_000
    assert csv.field_size_limit() == before


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        ("", 0, "is empty"),
        ("\ufeff \n", 0, "is empty"),
        (",,\n,,\n", 0, "is empty"),
        ("prompt,completion\n\n", 0, "no row"),
        ("twice,id,b, id\n1,2,3,4\n", 1, "same name: 'id'"),
        ('prompt,completion\n"a\nb",1\nwell, then,2\n', 4, "3 cells, the header 2"),
        ('prompt,completion\na,b\nc,"d\ne,f\n', 3, "never closed"),
        ('prompt,completion\na,b\n"c"d,e\n', 3, "do not match"),
        ('"prompt,completion\n', 1, "never closed"),
        ("a,b\nx\0,1\n", 2, "NUL"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_line_and_a_remedy(
    write: WriteFile, content: str, line: int, message: str
) -> None:
    path = write("broken.csv", content)
    with pytest.raises(DataError, match=message) as caught:
        list(open_data(str(path)).tables[0].records)
    assert caught.value.where == (f"{path}:{line}" if line else str(path))
    assert caught.value.fix


def test_rows_before_a_broken_one_are_read(opened: OpenTable) -> None:
    table = opened("late.csv", "a,b\n" + "1,2\n" * 5000 + "1,2,3\n")
    for _ in range(5000):
        next(table.records)
    with pytest.raises(DataError, match="3 cells"):
        next(table.records)


CELL = st.text(st.characters(exclude_characters="\0\r", exclude_categories=["Cs"]))


@settings(deadline=None)
@given(cells=st.lists(st.tuples(CELL, CELL), min_size=1, max_size=20), quoting=st.sampled_from([0, 1]))
def test_what_the_csv_module_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, cells: list[tuple[str, str]], quoting: int
) -> None:
    text = io.StringIO()
    csv.writer(text, quoting=quoting, lineterminator="\n").writerows([("prompt", "completion"), *cells])  # type: ignore[arg-type]
    path: Path = tmp_path_factory.getbasetemp() / "round.csv"
    path.write_bytes(text.getvalue().encode())
    (table,) = open_data(str(path)).tables
    assert [tuple(record.values.values()) for record in table.records] == cells
