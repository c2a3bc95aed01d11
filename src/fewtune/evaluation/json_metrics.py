"""Metrics of JSON answers: whether a program can read them, whether they have the right shape, what is in them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, cast

import numpy as np

from fewtune.evaluation.metric import Floats, Metric, Row, answer_metric, by_sums
from fewtune.evaluation.text_metrics import exact_match

INVALID = object()
"""In place of a value, where the text is not JSON."""


@dataclass(frozen=True, kw_only=True)
class Field:
    """One path of the expected and answered values: how often it is expected, answered, and answered rightly."""

    path: str
    expected: int
    answered: int
    right: int


def json_match(answer: str, expected: str) -> float:
    """1 where both are the same JSON value: the order of keys and the layout do not count, `1` equals `1.0`.

    An expected text that is not JSON can only be matched as text.
    """
    wanted = parsed(expected)
    if wanted is INVALID:
        return exact_match(answer, expected)
    return float(_same(parsed(answer), wanted))


def valid_json(answer: str, expected: str) -> float:
    """1 where the answer is one JSON value by RFC 8259, which knows no NaN; the expected text plays no part."""
    return float(parsed(answer) is not INVALID)


def parsed(text: str) -> object:
    """The JSON value with every number as a Decimal, so that none loses digits; INVALID for anything else."""
    try:
        return json.loads(text, parse_int=Decimal, parse_float=Decimal, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return INVALID


def fields(rows: Sequence[Row]) -> tuple[Field, ...]:
    """Every field of the rows by its path, in the order of their paths."""
    expected, answered, right = Counter[str](), Counter[str](), Counter[str]()
    for row in rows:
        if (compared := _leaves_of(row)) is None:
            continue
        wanted, said = compared
        for counts, leaves in ((expected, wanted), (answered, said), (right, wanted & said)):
            for (path, _), count in leaves.items():
                counts[path] += count
    return tuple(
        Field(path=path, expected=expected[path], answered=answered[path], right=right[path])
        for path in sorted(expected.keys() | answered.keys())
    )


def field_counts(row: Row) -> Sequence[float] | None:
    """Fields that are right, expected and answered."""
    compared = _leaves_of(row)
    if compared is None:
        return None
    wanted, said = compared
    return [(wanted & said).total(), wanted.total(), said.total()]


def _leaves_of(row: Row) -> tuple[Counter[tuple[str, str]], Counter[tuple[str, str]]] | None:
    """Those of the expected value, or of the reference that the answer comes nearest to, and those of the answer.

    None where there is no answer, or no good answer is JSON; an answer that is not JSON has no leaves either.
    """
    accepted = [value for text in row.accepted if (value := parsed(text)) is not INVALID]
    if row.answer is None or not accepted:
        return None
    answer = parsed(row.answer)
    said = Counter(() if answer is INVALID else _leaves(answer, ""))
    wanted = max((Counter(_leaves(value, "")) for value in accepted), key=lambda leaves: _likeness(leaves, said))
    return wanted, said


def _likeness(wanted: Counter[tuple[str, str]], said: Counter[tuple[str, str]]) -> float:
    """F1 of the row alone; there is always a leaf that is wanted."""
    return 2 * (wanted & said).total() / (wanted.total() + said.total())


def _leaves(value: object, path: str) -> Iterator[tuple[str, str]]:
    """Path and value of everything that is no list or object with something in it; places in a list do not count."""
    if isinstance(value, dict) and value:
        for key, inner in cast("dict[str, object]", value).items():
            yield from _leaves(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and value:
        for inner in cast("list[object]", value):
            yield from _leaves(inner, f"{path}[]")
    else:
        yield path or "(whole)", _written(cast("Any", value))


def _written(value: object) -> str:
    """Equal for equal values alone: a text keeps its quotes, `1` is `1.0`."""
    return f"{value.normalize():E}" if isinstance(value, Decimal) else json.dumps(value)


def _f1(sums: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return 2 * sums[:, 0] / (sums[:, 1] + sums[:, 2])


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _same(first: object, second: object) -> bool:
    if type(first) is not type(second):  # also keeps true apart from 1
        return False
    if isinstance(first, dict):
        left, right = cast("dict[str, object]", first), cast("dict[str, object]", second)
        return left.keys() == right.keys() and all(_same(left[key], right[key]) for key in left)
    if isinstance(first, list):
        items, others = cast("list[object]", first), cast("list[object]", second)
        return len(items) == len(others) and all(map(_same, items, others))
    return first == second


JSON: tuple[Metric, ...] = (
    answer_metric(
        "exact_match",
        json_match,
        title="Exact answers",
        unit="share",
        meaning="Share of answers that are the expected JSON value; layout and the order of keys do not count.",
        binary=True,
        tasks=("json",),
    ),
    Metric(
        name="field_f1",
        title="Fields right",
        unit="share",
        meaning="How many of the expected fields are answered rightly, and how few others, over all rows together.",
        higher_is_better=True,
        tasks=("json",),
        column=by_sums(field_counts, _f1),
    ),
    answer_metric(
        "valid_json",
        valid_json,
        title="Valid JSON",
        unit="share",
        meaning="Share of answers that a program can read as JSON, right or wrong.",
        binary=True,
        tasks=("json",),
    ),
)


def schema_metric(is_valid: Callable[[object], bool], origin: str) -> Metric:
    """Share of answers that have the right shape; `origin` says where the shape comes from."""
    return answer_metric(
        "schema_valid",
        lambda answer, expected: float((value := plain(answer)) is not INVALID and is_valid(value)),
        title="Right shape",
        unit="share",
        meaning=f"Share of answers with the keys and the kinds of values of {origin}.",
        binary=True,
        tasks=("json",),
    )


def plain(text: str) -> object:
    """The JSON value with ordinary numbers; INVALID for anything else."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return INVALID
