"""Files as strangers have them: each is understood, or answered with one sentence that says what it needs.

`ugly/cases.json` names the files, what is asked for, and what must come out.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from fewtune.data.records import Record
from fewtune.data.shapes.recognise import recognise
from fewtune.data.shapes.shape import Columns
from fewtune.errors import FewtuneError
from fewtune.types import Source

UGLY = Path(__file__).parents[1] / "ugly"
CASES = json.loads((UGLY / "cases.json").read_text(encoding="utf-8"))


def rows_of(path: Path) -> Iterator[dict[str, Any]]:
    """A plain reading of the file, as the readers of formats give it."""
    if path.suffix == ".xlsx":
        cells = [list(row) for row in openpyxl.load_workbook(path).worksheets[0].values]
        start = next(place for place, row in enumerate(cells) if sum(cell is not None for cell in row) > 1)
        return table([row for row in cells[start:] if any(cell is not None for cell in row)])
    data = path.read_bytes()
    encoding = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        text = data.decode("cp1252")
    if path.suffix == ".json":
        value = json.loads(text)
        return iter(value if isinstance(value, list) else value["data"])
    if path.suffix == ".jsonl":
        return map(json.loads, text.splitlines())
    if path.suffix == ".txt":
        return ({"completion": line} for line in text.splitlines())
    header = text.splitlines()[0]
    delimiter = "\t" if path.suffix == ".tsv" else max(",;", key=header.count)
    return table(list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)))


def table(rows: list[list[Any]]) -> Iterator[dict[str, Any]]:
    names = [name or f"unnamed column {number}" for number, name in enumerate(rows[0], 1)]
    return (dict(zip(names, row, strict=True)) for row in rows[1:])


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['file']}: {case['about']}")
def test_a_strangers_file_is_understood_or_told_what_it_needs(case: dict[str, Any]) -> None:
    rows = list(rows_of(UGLY / case["file"]))
    name = case["file"]
    records = [Record(source=Source(file=name, line=line), values=row) for line, row in enumerate(rows, 1)]
    try:
        shape = recognise(tuple(rows[0]), records[:20], Columns(**case.get("options", {})), f"{name}:1")
        examples = tuple(shape.examples(records))
    except FewtuneError as error:
        assert case.get("error", "no error") in str(error)
        assert error.fix
        return
    assert "error" not in case
    assert shape.name == case["shape"]
    assert len(examples) == case["rows"]
    assert [examples[0].prompt, examples[0].completion] == case["first"]
    assert case.get("note", "") in ("", *shape.notes)
    assert [example.row for example in examples] == list(range(len(examples)))


def test_no_file_lies_about_without_a_case() -> None:
    assert {case["file"] for case in CASES} == {path.name for path in UGLY.iterdir()} - {"cases.json"}
