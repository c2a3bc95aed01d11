"""One value of a record: as text, or as the list that its JSON text stands for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, cast

from fewtune.data.columns import listed
from fewtune.data.conversation import json_text
from fewtune.data.records import Number, Record
from fewtune.errors import DataError
from fewtune.types import Source


def text(value: object, source: Source) -> str:
    """The value as text: null and NaN are empty, a number stays as it was written, lists and objects are JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, Number):
        return value.written
    if value is None or value != value:
        return ""
    return json_text(value, str(source))


def texts(value: object, source: Source) -> tuple[str, ...]:
    """Each item of a list as text; any other value is its only one."""
    items = cast(list[object], value) if isinstance(value, list) else [value]
    return tuple(text(item, source) for item in items)


def cell(record: Record, column: str) -> Any:
    """The record's value; raises DataError where it has none."""
    try:
        return record.values[column]
    except KeyError as error:
        raise lacking(record, [column]) from error


def lacking(record: Record, columns: Sequence[str]) -> DataError:
    """The error for a record without one of the columns."""
    missing = [column for column in columns if column not in record.values]
    return DataError(
        f"This row has no {listed(missing)}; it has {listed(record.values.keys())}.",
        where=str(record.source),
        fix="Give every row the same keys.",
    )


def structured(value: object, where: str) -> object:
    """The value, parsed where it is JSON text, as a cell of a CSV file is."""
    if not isinstance(value, str) or not value.strip():
        return value or None
    try:
        parsed: object = json.loads(value, parse_constant=lambda _word: None)
        if "\\u" in value:
            json.dumps(parsed, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        python = value.lstrip().startswith(("[{'", "{'"))
        what = "it is written as Python prints it" if python else _reason(error)
        fix = "Write it as JSON (json.dumps), or save the rows as JSON lines."
        raise DataError(f"A cell that should hold JSON does not: {what}.", where=where, fix=fix) from error
    return parsed


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at character {error.pos + 1:,}"
    return "half a character (a lone surrogate)" if isinstance(error, UnicodeEncodeError) else "it cannot be parsed"


def are_turns(values: Sequence[Any], *keys: str) -> bool:
    """Whether all values are lists of objects that have these keys, as far as their first turn tells."""
    return bool(values) and all(_is_turn(value, keys) for value in values)


def _is_turn(value: Any, keys: Sequence[str]) -> bool:
    first = cast(list[object], value)[:1] if isinstance(value, list) else []
    return bool(first) and isinstance(first[0], dict) and all(key in first[0] for key in keys)
