"""A search space from a TOML file, whose keys are a Plan's fields."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, cast

from fewtune.errors import UsageError
from fewtune.search.axis import FIELDS, Axis, Field, RateKind, choices, parse_axis


def read_space(text: str, *, where: str, rate: RateKind = "absolute") -> Mapping[str, Axis]:
    """The axes of a file such as

        epochs = [1, 2, 4, 8]
        learning_rate = "3e-4..3e-3 log"
        rank = 8

    A value is a number, a list of numbers, or text as it would be typed after the option. `where` is the file's
    name, for errors. Raises UsageError for text that is not TOML, for a key that is none of the axes, naming the
    nearest, for a value of another kind, and for what `parse_axis` refuses.
    """
    try:
        document: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(
            f"This is not TOML: {error}.", where=where, fix='Write lines such as epochs = "1,2,4".'
        ) from None
    if not document:
        raise UsageError("The file names no axis.", where=where, fix='Write lines such as epochs = "1,2,4".')
    return {name: _axis(_field(name, where), value, where, rate) for name, value in document.items()}


def _field(name: str, where: str) -> Field:
    if name in FIELDS:
        return FIELDS[name]
    near = get_close_matches(name.replace("-", "_"), FIELDS, n=1, cutoff=0.5)
    fix = f"Did you mean {near[0]}?" if near else f"The axes are: {', '.join(FIELDS)}."
    raise UsageError(f"{name!r} is no axis of a search.", where=where, fix=fix)


def _axis(field: Field, value: object, where: str, rate: RateKind) -> Axis:
    try:
        if isinstance(value, str):
            return parse_axis(field, value, rate=rate)
        return choices(field, _numbers(field, value), rate=rate)
    except UsageError as error:
        fix = (error.fix or "").replace(field.option + " ", f"{field.name} = ")
        raise UsageError(error.what.replace(field.option, field.name), where=where, fix=fix) from None


def _numbers(field: Field, value: object) -> list[float]:
    given = cast("list[object]", value) if isinstance(value, list) else [value]
    numbers = [float(one) for one in given if isinstance(one, int | float) and not isinstance(one, bool)]
    if len(numbers) < len(given) or (field.whole and any(not one.is_integer() for one in numbers)):
        kind = "whole numbers" if field.whole else "numbers"
        raise UsageError(f"{field.option} is no list of {kind}.", fix=f'Write {field.name} = "{field.example}".')
    return numbers
