"""JSON text to values, or what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, cast

from fewtune.data.columns import listed
from fewtune.data.formats.limits import MOST_CHARACTERS, MOST_COLUMNS, MOST_LEVELS, size
from fewtune.data.records import Number
from fewtune.errors import DataError

_SPACE = " \t\r\n"


def value_at(text: str, start: int) -> tuple[Any, int]:
    """The value that begins at a place of a text, and where it ends.

    Raises ValueError or RecursionError, as json does.
    """
    return _DECODER.raw_decode(text, start)


def value_of(text: str) -> Any:
    """The value that a text is, white space around it left aside; raises as `value_at`."""
    text = text.strip(_SPACE)
    value, end = _DECODER.raw_decode(text)
    if end < len(text):
        raise json.JSONDecodeError("Extra data", text, end)
    return value


def invalid(error: Exception, what: str, where: str, fix: str) -> DataError:
    """What json found, in our words; `what` is 'This line' or the like."""
    if isinstance(error, RecursionError):
        reason = f"its values lie deeper than {MOST_LEVELS} inside each other"
    elif isinstance(error, json.JSONDecodeError):
        reason = f"{error.msg} at column {error.colno}"
    else:
        reason = "a number has more digits than any that are read" if "digits" in str(error) else str(error)
    return DataError(f"{what} is not valid JSON: {reason}.", where=where, fix=fix)


def record_of(value: object, text: str, start: int, end: int, what: str, where: str) -> dict[str, Any]:
    """The object that was read from a piece of a text. Raises DataError for what no record may be or hold."""
    if not isinstance(value, dict):
        fix = 'Write one object for each record: {"prompt": "...", "completion": "..."}.'
        raise DataError(f"{what} is JSON, but not an object.", where=where, fix=fix)
    if end - start > MOST_CHARACTERS:
        raise DataError(
            f"{what} is longer than {size(MOST_CHARACTERS)}.", where=where, fix="Shorten it, or leave it out."
        )
    record = cast(dict[str, Any], value)
    if len(record) > MOST_COLUMNS:
        fix = "Write a list of objects with the same few keys."
        raise DataError(f"{what} has more than {MOST_COLUMNS:,} keys, the most that are read.", where=where, fix=fix)
    if text.count("[", start, end) + text.count("{", start, end) > MOST_LEVELS and _is_deep(record):
        raise invalid(RecursionError(), what, where, "Write flat objects.")
    if text.find("\\u", start, end) >= 0:
        _refuse_half_characters(record, what, where)
    return record


def _refuse_half_characters(value: object, what: str, where: str) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = f"{what} holds half a character (a lone surrogate)."
        raise DataError(half, where=where, fix="Write the character whole.") from error


def _is_deep(value: object) -> bool:
    level = [value]
    for _ in range(MOST_LEVELS):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return False
    return True


def _inside(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return cast(dict[str, object], value).values()
    return cast(list[object], value) if isinstance(value, list) else ()


def _constant(word: str) -> str | None:
    """NaN is what some programs write for a missing cell."""
    return None if word == "NaN" else word


def _without_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = dict(pairs)
    if len(keys) < len(pairs):
        raise ValueError(f"a key occurs twice among {listed([key for key, _ in pairs])}")
    return keys


_DECODER = json.JSONDecoder(parse_float=Number, parse_constant=_constant, object_pairs_hook=_without_repeated_keys)
