"""Files that are made to fill the memory or to take for ever; each is refused with a sentence."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from data.formats.conftest import WriteFile
from data.formats.specimens import WHOLE, read_through
from fewtune.errors import DataError

SHEET = b'<?xml version="1.0"?><worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>'
MEBIBYTE = 1 << 20

BOUNDED = """
import resource, sys
from fewtune.data.formats import open_data
from fewtune.errors import DataError
limit = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_CPU, (5, 5))
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
try:
    for table in open_data(sys.argv[1]).tables:
        for record in table.records:
            pass
except DataError as error:
    print(error.what)
"""
MOST_DATA = 400 * MEBIBYTE


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_through(path)
    assert str(caught.value.where).startswith(str(path)) and caught.value.fix
    return caught.value.what


def refusal_in_bounds(path: Path) -> str:
    """From a process that may use five seconds of the processor and little memory."""
    command = [sys.executable, "-c", BOUNDED, str(path), str(MOST_DATA)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def workbook_with(sheet: bytes, repeat: int = 1) -> bytes:
    """A workbook whose first sheet has these bytes."""
    content = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(WHOLE["xlsx"])) as whole,
        zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as changed,
    ):
        for name in whole.namelist():
            if name != "xl/worksheets/sheet1.xml":
                changed.writestr(name, whole.read(name))
        with changed.open("xl/worksheets/sheet1.xml", "w", force_zip64=True) as part:
            part.write(SHEET)
            for _ in range(repeat):
                part.write(sheet)
    return content.getvalue()


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "txt", "json"])
def test_a_file_that_is_one_endless_line_is_refused(write: WriteFile, ending: str) -> None:
    line = b'["abcdefgh, ' if ending == "json" else b"abcdefgh, "
    assert refusal(write(f"line.{ending}", line + b"abcdefgh, " * 7_500_000))


@pytest.fixture(scope="module")
def huge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two gibibytes without a line break."""
    path = tmp_path_factory.mktemp("huge") / "content"
    with path.open("wb") as file:
        for _ in range(2048):
            file.write(b"abcdefgh" * (MEBIBYTE // 8))
    yield path
    path.unlink()


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["csv", "jsonl", "txt", "json", "xlsx", "parquet"])
def test_two_gibibytes_in_one_line_are_refused_in_bounds(huge: Path, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"huge.{ending}"
    path.symlink_to(huge)
    assert refusal_in_bounds(path)


@pytest.mark.parametrize("ending", ["csv", "jsonl", "txt", "json", "xlsx", "parquet"])
def test_a_sparse_file_of_two_gibibytes_is_refused(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"sparse.{ending}"
    path.touch()
    os.truncate(path, 2 << 30)
    assert refusal(path)


def test_a_file_larger_than_any_that_is_read_is_refused_by_its_size(tmp_path: Path) -> None:
    path = tmp_path / "larger.csv"
    path.touch()
    os.truncate(path, (8 << 30) + 1)
    assert "larger than 8 GiB" in refusal(path)


@pytest.mark.parametrize(("delimiter", "quote"), [(",", ""), (",", '"'), (";", "")])
def test_a_table_of_a_million_columns_is_refused(write: WriteFile, delimiter: str, quote: str) -> None:
    header = delimiter.join(f"{quote}c{number}{quote}" for number in range(1_000_000))
    assert "16,384 columns" in refusal(write("wide.csv", f"{header}\n1{delimiter}2\n"))


@pytest.mark.parametrize("ending", ["json", "jsonl"])
def test_a_record_of_a_million_keys_is_refused(write: WriteFile, ending: str) -> None:
    record = json.dumps({str(number): 1 for number in range(1_000_000)})
    assert "16,384" in refusal(write(f"wide.{ending}", record))


def test_records_that_have_a_million_different_keys_between_them_are_refused(write: WriteFile) -> None:
    lines = [json.dumps({f"{row}-{number}": 1 for number in range(1000)}) for row in range(1000)]
    assert "16,384 columns" in refusal(write("wide.jsonl", "\n".join(lines)))


@pytest.mark.parametrize("rest", ["d,e\n", '\n","', "x" * 100])
def test_a_quote_that_is_never_closed_does_not_swallow_the_file(write: WriteFile, rest: str) -> None:
    path = write("open.csv", 'a,b\nc,d\n"' + rest * (20_000_000 // len(rest)))
    assert "16 MiB" in refusal(path) or "columns" in refusal(path)


def test_a_record_of_a_document_that_is_too_long_is_refused(write: WriteFile) -> None:
    text = "x" * (17 * MEBIBYTE)
    assert "longer than 16 MiB" in refusal(write("long.json", f'[{{"a": "{text}"}}]'))
    assert "longer than 16 MiB" in refusal(write("long.jsonl", f'{{"a": "{text}"}}'))
    assert "longer than any" in refusal(write("open.json", f'[{{"a": "{text}'))


@pytest.mark.parametrize(
    "piece", [bytes(MEBIBYTE), b'<row r="1"><c r="A1"><v>1</v></c></row>' * 25_000], ids=["zeros", "cells"]
)
def test_a_workbook_that_unpacks_without_end_is_refused(write: WriteFile, piece: bytes) -> None:
    path = write("bomb.xlsx", workbook_with(piece, 100))
    assert path.stat().st_size < 5 * MEBIBYTE
    assert refusal_in_bounds(path)


def test_a_workbook_that_lies_about_its_size_is_refused(write: WriteFile) -> None:
    honest = workbook_with(b"<row/>" * 100_000, 100)
    with zipfile.ZipFile(io.BytesIO(honest)) as packed:
        size = packed.getinfo("xl/worksheets/sheet1.xml").file_size
    lie = honest.replace(size.to_bytes(4, "little"), (99).to_bytes(4, "little"))
    assert "damaged" in refusal(write("liar.xlsx", lie))


@pytest.mark.parametrize(
    "sheet",
    [
        b'<row r="1"><c r="A1"><v>1</v></c></row><row r="1048576"><c r="XFD1048576"><v>2</v></c></row>',
        b"<row r='1'><c r='A1'><v>1</v></c></row><row r='900000'><c s='1' r = 'ZZZ900000' ><v>2</v></c></row>",
        b'<row r="1">' + b"<c><v>1</v></c>" * 16_384 + b'</row><row r="1048576"><c><v>1</v></c></row>',
    ],
)
def test_cells_scattered_over_a_whole_sheet_are_refused(write: WriteFile, sheet: bytes) -> None:
    path = write("scattered.xlsx", workbook_with(sheet + b"</sheetData></worksheet>"))
    assert "reaches over" in refusal(path)


def test_formatted_cells_without_content_do_not_count_as_scattered(write: WriteFile) -> None:
    rows = b'<row r="1"><c r="A1"><v>1</v></c></row><row r="2"><c r="A2"><v>2</v></c></row>'
    empty = b'<row r="1048576"><c r="XFD1048576" s="1"/></row></sheetData></worksheet>'
    assert read_through(write("formatted.xlsx", workbook_with(rows + empty))) == 1


def test_an_archive_with_an_enormous_directory_is_refused(write: WriteFile) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("xl/workbook.xml", "")
        for number in range(60_000):
            archive.writestr(f"{number:060}", "")
    assert "directory is larger" in refusal(write("many.xlsx", content.getvalue()))
