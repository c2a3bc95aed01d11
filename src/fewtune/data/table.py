"""Text of a CSV or JSONL file to named cells, each row with the line on which it begins."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from fewtune.data.columns import listed, other_separator
from fewtune.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Table:
    columns: tuple[str, ...]
    first_line: int
    """Where the columns are named: the header, or the first object."""
    rows: Sequence[tuple[int, Mapping[str, str]]]
    """Line and cells by column. In CSV every row has all columns; in JSONL a key may be missing."""


def parse_csv(text: str, file: str) -> Table:
    """Comma-separated, with a header; blank lines are skipped, missing last cells are empty.

    Raises DataError for a row that has more cells than the header, and for quotes that do not match.
    """
    records = _records(text, file)
    first_line, header = next(records, (1, list[str]()))
    columns = _column_names(header, f"{file}:{first_line}")
    rows: list[tuple[int, Mapping[str, str]]] = []
    for line, cells in records:
        if len(cells) > len(columns):
            raise DataError(
                f"This row has {len(cells)} cells, the header {len(columns)}.",
                where=f"{file}:{line}",
                fix=other_separator(columns) or 'Put text that contains commas in double quotes, as in "well, then".',
            )
        missing = [""] * (len(columns) - len(cells))
        rows.append((line, dict(zip(columns, cells + missing, strict=True))))
    return Table(columns=columns, first_line=first_line, rows=rows)


def _records(text: str, file: str) -> Iterator[tuple[int, list[str]]]:
    """Each record that is not a blank line, with the line on which it begins."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            fix = 'Close every double quote that opens, and write a quote inside quotes twice: "say ""hello""".'
            raise DataError(_unreadable(error), where=f"{file}:{line}", fix=fix) from error
        if cells:
            yield line, cells


def _unreadable(error: csv.Error) -> str:
    reason = str(error)
    if "end of data" in reason:
        return "A double quote opens in the row that begins here and is never closed."
    if "field limit" in reason:
        most = csv.field_size_limit()
        return f"A cell of the row that begins here is longer than {most:,} characters; perhaps a quote is not closed."
    return f"The quotes of the row that begins here do not match: {reason}."


def _column_names(header: Sequence[str], where: str) -> tuple[str, ...]:
    names = tuple(name.strip() or f"unnamed column {number}" for number, name in enumerate(header, 1))
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise DataError(
            f"Several columns have the same name: {listed(repeated)}.", where=where, fix="Rename or remove them."
        )
    return names


def parse_jsonl(text: str, file: str) -> Table:
    """One JSON object a line; blank lines are skipped, null is empty, other values stand as they are written.

    Raises DataError for a line that is no JSON object, or that holds a key twice.
    """
    rows = [
        (number, {key: _text(value) for key, value in _object(line, f"{file}:{number}").items()})
        for number, line in enumerate(text.split("\n"), 1)
        if line.strip()
    ]
    columns = tuple(dict.fromkeys(key for _, cells in rows for key in cells))
    return Table(columns=columns, first_line=rows[0][0] if rows else 1, rows=rows)


class _Number(float):
    """A JSON number that remembers how it was written."""

    written: str

    def __new__(cls, written: str) -> _Number:
        number = super().__new__(cls, written)
        number.written = written
        return number


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, _Number):
        return value.written
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def _object(line: str, where: str) -> dict[str, Any]:
    value = _parsed(line, where)
    if isinstance(value, dict):
        return cast(dict[str, Any], value)
    fix = 'Write one object a line: {"prompt": "...", "completion": "..."}.'
    raise DataError("This line is JSON, but not an object.", where=where, fix=fix)


def _parsed(line: str, where: str) -> object:
    try:
        value = json.loads(
            line, parse_float=_Number, parse_constant=_constant, object_pairs_hook=_without_repeated_keys
        )
        if "\\u" in line:
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        what, fix = "This line holds half a character (a lone surrogate).", "Write the character whole."
        raise DataError(what, where=where, fix=fix) from error
    except (ValueError, RecursionError) as error:
        reason = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
        what, fix = f"This line is not valid JSON: {reason}.", "Write one whole object a line."
        raise DataError(what, where=where, fix=fix) from error
    return value


def _constant(word: str) -> str | None:
    """NaN is what some programs write for a missing cell."""
    return None if word == "NaN" else word


def _without_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = dict(pairs)
    if len(keys) < len(pairs):
        raise ValueError(f"a key occurs twice among {listed([key for key, _ in pairs])}")
    return keys
