"""Parquet files, some rows at a time."""

from __future__ import annotations

import base64
import datetime
import decimal
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, cast

from fewtune.data.columns import listed
from fewtune.data.formats.file import DataFile
from fewtune.data.formats.header import column_names
from fewtune.data.formats.limits import MEBIBYTE, MOST_CHARACTERS, size
from fewtune.data.formats.moments import duration, moment
from fewtune.data.formats.panic import translated
from fewtune.data.records import Number, Record, Table
from fewtune.errors import DataError
from fewtune.types import Source

if TYPE_CHECKING:
    from polars import DataType, LazyFrame

_MAGIC = b"PAR1"
_FIRST_ROWS = 1000
_MOST_ROWS = 200_000
_SLICE_BYTES = 32 * MEBIBYTE
_WHAT = "The Parquet file cannot be read"
_FIX = "Write it again, or save its rows as .jsonl."


def read_parquet(file: DataFile) -> Table:
    """Lists and structs become JSON values, dates and times ISO text. A record's line is its number, from 1.

    Raises DataError for a damaged file.
    """
    import polars

    if not file.head(1):
        raise DataError("The file is empty.", where=file.name, fix="Give a file with named columns and rows.")
    if file.head(4) != _MAGIC:
        fix = "Let its name end in what it is."
        raise DataError("This is no Parquet file, whatever its name says.", where=file.name, fix=fix)
    with _told(file):
        frame = polars.scan_parquet(file.path, glob=False, hive_partitioning=False)
        schema = frame.collect_schema()
        count = cast(int, frame.select(polars.len()).collect().item())
    columns = column_names(schema.names(), file.name)
    if not count or not columns:
        raise DataError("There are columns but no row.", where=file.name, fix="Give a file with rows.")
    binary = [name for name, kind in schema.items() if kind == polars.Binary]
    note = f"What is no text in {listed(binary)} is given in base64." if binary else ""
    return Table(
        file=file.name,
        columns=columns,
        first_line=1,
        records=_records(frame, columns, schema.dtypes(), count, file),
        notes=(note,) if note else (),
    )


def _told(file: DataFile) -> Any:
    import polars

    kinds = (polars.exceptions.PolarsError, OSError, ValueError, OverflowError, TypeError)
    return translated(kinds, _WHAT, file.name, _FIX)


def _records(
    frame: LazyFrame, columns: tuple[str, ...], kinds: list[DataType], count: int, file: DataFile
) -> Iterator[Record]:
    converters = [_converter(kind) for kind in kinds]
    for number, row in enumerate(_rows(frame, count, file), 1):
        values = {
            column: value if convert is None else convert(value)
            for column, value, convert in zip(columns, row, converters, strict=True)
        }
        source = Source(file=file.name, line=number)
        if sum(len(value) for value in values.values() if isinstance(value, str)) > MOST_CHARACTERS:
            what, fix = f"This row is longer than {size(MOST_CHARACTERS)}.", "Shorten it, or leave it out."
            raise DataError(what, where=str(source), fix=fix)
        yield Record(source=source, values=values)


def _rows(frame: LazyFrame, count: int, file: DataFile) -> Iterator[tuple[Any, ...]]:
    """In slices of about the same size in memory, the first one small to learn how large rows are."""
    start, length = 0, _FIRST_ROWS
    while start < count:
        with _told(file):
            part = frame.slice(start, length).collect()
            if not part.height:
                raise DataError(f"{_WHAT}: it has fewer rows than it says.", where=file.name, fix=_FIX)
            row_bytes = part.estimated_size() / part.height + 1
            rows = part.iter_rows(buffer_size=max(1, min(512, int(MOST_CHARACTERS / row_bytes))))
        while True:
            with _told(file):
                row = next(rows, None)
            if row is None:
                break
            yield row
        start += part.height
        length = max(1, min(_MOST_ROWS, int(_SLICE_BYTES / row_bytes)))


def _converter(kind: DataType) -> Callable[[Any], Any] | None:
    """None where polars gives a JSON value already."""
    import polars

    if kind == polars.Float32:
        return _single_precision
    plain = kind.is_integer() or isinstance(kind, polars.String | polars.Boolean | polars.Categorical | polars.Enum)
    return None if plain else _json_value


def _json_value(value: Any) -> Any:
    """As it would stand in a JSON file."""
    if isinstance(value, float):
        return _number(value, repr(value))
    if isinstance(value, decimal.Decimal):
        return Number(str(value))
    if isinstance(value, bytes):
        return _text_or_base64(value)
    if isinstance(value, datetime.timedelta):
        return duration(value)
    if isinstance(value, datetime.date | datetime.time):
        return moment(value)
    if isinstance(value, dict):
        return {str(key): _json_value(inner) for key, inner in cast(dict[Any, Any], value).items()}
    if isinstance(value, list | tuple):
        return [_json_value(inner) for inner in cast(list[Any], value)]
    return value if value is None or isinstance(value, str | int) else str(value)


def _single_precision(value: float | None) -> Any:
    """With no more digits than its precision has: 0.1, not 0.10000000149011612."""
    import numpy

    return None if value is None else _number(value, str(numpy.float32(value)))


def _number(value: float, written: str) -> Any:
    """NaN is None and infinity a word, as in JSON files."""
    if math.isnan(value):
        return None
    return Number(written) if math.isfinite(value) else "Infinity" if value > 0 else "-Infinity"


def _text_or_base64(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return base64.b64encode(value).decode()
