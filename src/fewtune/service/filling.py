"""Graders' texts with `{{ item.x }}` and `{{ sample.output_text }}` filled in: looked up and put in, nothing more."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, cast

_PLACE = re.compile(r"\{\{\s*((?:item|sample)(?:\.\w+|\[\d{1,6}\])+)\s*\}\}")
_ANY_PLACE = re.compile(r"\{\{.*?\}\}", re.DOTALL)
_STEP = re.compile(r"\w+")


class UnknownVariable(ValueError):
    """A text names something that neither the item nor the sample has."""


class FilledTooLong(ValueError):
    """What was filled in is longer than a grader takes."""


def filled(text: str, item: Mapping[str, Any], sample: str, *, most: int) -> str:
    """The text with every place filled. What is put in is not looked through again.

    Raises UnknownVariable, and FilledTooLong beyond `most` characters.
    """
    known = {"item": item, "sample": {"output_text": sample, **_parsed(sample)}}
    pieces: list[str] = []
    size, end = 0, 0
    for place in _ANY_PLACE.finditer(text):
        value = _value(place.group(), known)
        pieces += [text[end : place.start()], value]
        size += place.start() - end + len(value)
        end = place.end()
        if size > most:
            break
    size += len(text) - end
    if size > most:
        raise FilledTooLong(f"A text to be graded may have {most:,} characters.")
    return "".join((*pieces, text[end:]))


def _value(place: str, known: Mapping[str, Any]) -> str:
    found = _PLACE.fullmatch(place)
    if found is None:
        raise UnknownVariable(f"'{place[:100]}' is neither of the item nor of the sample.")
    value: Any = known
    for step in _STEP.findall(found.group(1)):
        value = _step_into(value, step, place)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _step_into(value: Any, step: str, place: str) -> Any:
    if isinstance(value, Mapping) and step in value:
        return cast(Mapping[str, Any], value)[step]
    if isinstance(value, list) and step.isascii() and step.isdigit():
        members = cast(list[Any], value)
        if int(step) < len(members):
            return members[int(step)]
    raise UnknownVariable(f"There is no '{place[:100]}'.")


def _parsed(sample: str) -> dict[str, Any]:
    """`output_json`, where the answer is JSON."""
    try:
        return {"output_json": json.loads(sample)}
    except (ValueError, RecursionError):
        return {}
