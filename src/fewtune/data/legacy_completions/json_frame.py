"""JSON and JSON lines as a frame, the way pandas makes one of decoded values."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from itertools import chain
from typing import Any, cast

from fewtune.data.legacy_completions.frame import Frame, refusal
from fewtune.data.legacy_completions.json_text import decode

_NO_TABLE = "The JSON is no table of prompts and completions"
_FIX = 'Write one object a line: {"prompt": "...", "completion": "..."}.'
_DATE_NAMES = ("modified", "date", "datetime")
_DATE_ENDINGS = ("_at", "_time")
_WRITTEN_DATE = re.compile(r"-?\d|\d{4}|\d{8}", re.ASCII)
# Seconds or finer since 1970 are taken for dates between these two.
_FIRST_STAMP, _LAST_STAMP = 31_536_000, 2**63
_INTEGER = re.compile(r"[+-]?\d{1,18}", re.ASCII)


def read_json_frame(text: str, file: str) -> Frame:
    """One object a line; where that fails, the whole file as one value: a list of objects or an object of columns."""
    lines = [line for line in map(str.strip, text.split("\n")) if line]
    try:
        value = decode(f"[{','.join(lines)}]")
    except ValueError:
        return _from_document(text, file)
    return _from_records(value, file, converted=False)


def _from_document(text: str, file: str) -> Frame:
    try:
        value = decode(text)
    except ValueError as error:
        raise refusal(f"The file is neither JSON nor JSON lines: {error}.", file, _FIX) from error
    if isinstance(value, dict):
        return _from_columns(cast(dict[str, Any], value), file)
    return _from_records(value, file, converted=True)


def _from_records(value: Any, file: str, *, converted: bool) -> Frame:
    records = cast(Sequence[Any], value if isinstance(value, list) else [value])
    strangers = [number for number, record in enumerate(records) if not isinstance(record, dict)]
    if strangers:
        raise refusal(f"{_NO_TABLE}: record {strangers[0]} is not an object.", file, _FIX)
    objects = cast(Sequence[Mapping[str, Any]], records)
    columns = {key: [record.get(key) for record in objects] for key in dict.fromkeys(chain.from_iterable(objects))}
    _refuse_gaps_in_dates(columns, file)
    return Frame(
        columns=tuple(columns),
        cells=list(columns.values()),
        labels=range(len(objects)),
        as_text=_text,
        converted=converted,
    )


def _from_columns(columns: Mapping[str, Any], file: str) -> Frame:
    """Columns as lists or as objects by row label; a single value stands in every row."""
    labels = _labels(columns, file)
    filled = {name: _column(values, labels) for name, values in columns.items()}
    _refuse_gaps_in_dates(filled, file)
    return Frame(
        columns=tuple(filled),
        cells=list(filled.values()),
        labels=_typed(labels),
        as_text=_text,
        converted=True,
    )


def _labels(columns: Mapping[str, Any], file: str) -> Sequence[Hashable]:
    labelled = [cast(dict[str, Any], values) for values in columns.values() if isinstance(values, dict)]
    lengths = {len(cast(list[Any], values)) for values in columns.values() if isinstance(values, list)}
    if labelled and lengths:
        raise refusal(f"{_NO_TABLE}: it has columns with row labels and columns without.", file, _FIX)
    if not labelled and len(lengths) != 1:
        raise refusal(f"{_NO_TABLE}: its columns have not the same number of rows.", file, _FIX)
    return list(dict.fromkeys(label for values in labelled for label in values)) if labelled else range(lengths.pop())


def _column(values: Any, labels: Sequence[Hashable]) -> Sequence[Any]:
    if isinstance(values, dict):
        named = cast(dict[Hashable, Any], values)
        return [named.get(label) for label in labels]
    return cast(list[Any], values) if isinstance(values, list) else [values] * len(labels)


def _typed(labels: Sequence[Hashable]) -> Sequence[Hashable]:
    texts = [label for label in labels if isinstance(label, str) and _INTEGER.fullmatch(label)]
    return [int(text) for text in texts] if len(texts) == len(labels) else labels


def _text(values: Sequence[Any]) -> list[str]:
    """As pandas writes a column out: whole numbers become fractions beside fractions and gaps."""
    present = [value for value in values if value is not None]
    kinds: set[type] = {type(value) for value in present}
    if (float in kinds and kinds <= {int, float}) or (kinds == {int} and len(present) < len(values)):
        values = [None if value is None else float(value) for value in values]
    return ["" if value is None or value != value else str(value) for value in values]


def _refuse_gaps_in_dates(columns: Mapping[str, Sequence[Any]], file: str) -> None:
    """pandas converts columns with such names to numbers where it finds no dates, and then cannot fill their gaps."""
    for name, values in columns.items():
        lower = name.lower()
        is_named = lower in _DATE_NAMES or lower.endswith(_DATE_ENDINGS) or lower.startswith("timestamp")
        present = [value for value in values if value is not None]
        if is_named and 0 < len(present) < len(values) and _becomes_numbers(present):
            what = f"The column {name!r} has numbers and gaps: the old tool breaks off on such a file."
            raise refusal(what, file, "Remove that column.")


def _becomes_numbers(values: Sequence[Any]) -> bool:
    if all(isinstance(value, str) for value in values):
        return all(map(_is_number, values)) and not all(map(_WRITTEN_DATE.fullmatch, values))
    if not all(isinstance(value, bool | int | float) or _is_number(value) for value in values):
        return False
    return not all(type(value) in (int, float) and _FIRST_STAMP < value < _LAST_STAMP for value in values)


def _is_number(value: Any) -> bool:
    try:
        return isinstance(value, str) and isinstance(float(value), float)
    except ValueError:
        return False
