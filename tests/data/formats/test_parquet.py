from __future__ import annotations

import datetime
import io
from pathlib import Path
from typing import Any

import polars
import pytest

from data.formats.conftest import OpenTable, WriteFile
from fewtune.data.formats import open_data
from fewtune.data.records import Number
from fewtune.errors import DataError


def parquet(columns: Any, **options: Any) -> bytes:
    content = io.BytesIO()
    polars.DataFrame(columns).write_parquet(content, **options)
    return content.getvalue()


def test_values_become_json_values_and_the_line_is_the_number_of_the_row(opened: OpenTable) -> None:
    columns = {
        "text": ["a", None],
        "count": [1, 2**40],
        "share": [1.5, float("nan")],
        "single": polars.Series([0.1, float("inf")], dtype=polars.Float32),
        "exact": polars.Series(["1.50", "2.00"]).cast(polars.Decimal(10, 2)),
        "seen": [datetime.datetime(2024, 1, 31, 13, 45), None],
        "day": [datetime.date(2024, 1, 31), None],
        "took": [datetime.timedelta(minutes=90), None],
        "label": polars.Series(["x", "y"], dtype=polars.Categorical),
        "turns": [[{"role": "user", "at": datetime.date(2024, 1, 31)}], []],
        "good": [True, None],
    }
    first, second = opened("values.parquet", parquet(columns)).records
    assert (first.source.line, second.source.line) == (1, 2)
    assert first.values == {
        "text": "a",
        "count": 1,
        "share": 1.5,
        "single": 0.1,
        "exact": 1.5,
        "seen": "2024-01-31 13:45:00",
        "day": "2024-01-31",
        "took": "1:30:00",
        "label": "x",
        "turns": [{"role": "user", "at": "2024-01-31"}],
        "good": True,
    }
    assert isinstance(first.values["exact"], Number) and first.values["exact"].written == "1.50"
    assert isinstance(first.values["single"], Number) and first.values["single"].written == "0.1"
    assert (second.values["share"], second.values["single"], second.values["turns"]) == (None, "Infinity", [])


def test_bytes_are_text_where_they_can_be_and_base64_where_not(opened: OpenTable) -> None:
    table = opened("bytes.parquet", parquet({"x": ["é".encode(), b"\xff\x00"]}))
    assert [record.values["x"] for record in table.records] == ["é", "/wA="]
    assert "'x'" in table.notes[0]


@pytest.mark.parametrize("row_group_size", [700, 100_000])
def test_rows_keep_their_order_through_all_slices(opened: OpenTable, row_group_size: int) -> None:
    count = 12_345
    content = parquet({"n": range(count), "text": ["x" * 9000] * count}, row_group_size=row_group_size)
    table = opened("many.parquet", content)
    assert all((record.values["n"], record.source.line) == (n, n + 1) for n, record in enumerate(table.records))


def test_a_name_with_wildcards_is_that_of_one_file(tmp_path: Path) -> None:
    path = tmp_path / "part-[1]*.parquet"
    path.write_bytes(parquet({"a": [1]}))
    assert open_data(str(path)).tables[0].columns == ("a",)


WHOLE = parquet({"prompt": ["a", "b"] * 300, "completion": [{"x": 1}, None] * 300})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"prompt,completion\n", "no Parquet file, whatever its name says"),
        (WHOLE[:-20], "cannot be read"),
        (WHOLE[:100] + bytes(200) + WHOLE[300:], "cannot be read"),
        (parquet({"a": []}), "no row"),
    ],
)
def test_a_damaged_file_is_told_with_a_remedy(write: WriteFile, content: bytes, message: str) -> None:
    path = write("broken.parquet", content)
    with pytest.raises(DataError, match=message) as caught:
        list(open_data(str(path)).tables[0].records)
    assert caught.value.where == str(path)
    assert caught.value.fix
