"""What a chat template may use up: work and memory, counted while it runs."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Iterator, Mapping, MappingView, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, cast

from jinja2.exceptions import TemplateError
from jinja2.runtime import Context
from jinja2.utils import pass_context

_WORK, _WORK_PER_CHARACTER, _WORK_PER_VALUE = 10_000_000, 200, 20_000
_SIZE, _SIZE_PER_CHARACTER, _SIZE_PER_VALUE = 1_000_000, 12, 100
STEP, _ELEMENT = 50, 8
"""What a call costs, and a value within another, where a character costs 1."""
_WIDEST_INDENT = 64


class TooMuch(TemplateError):
    """The template goes beyond what it may use."""


@dataclass(kw_only=True)
class Meter:
    """What one rendering may still do."""

    work: int
    largest: int
    """Size of any value: characters, and a few for each element."""

    def use(self, amount: int) -> None:
        self.work -= amount
        if self.work < 0:
            raise TooMuch("it does not come to an end in reasonable time")

    def fits(self, size: int) -> int:
        if size > self.largest:
            raise TooMuch("it makes texts or lists that are far larger than the conversation")
        return size

    def pay(self, size: int) -> None:
        self.use(self.fits(size))


def meter_for(values: Any) -> Meter:
    """An allowance that grows with the values that the template is given."""
    characters, count = _extent(values)
    return Meter(
        work=_WORK + _WORK_PER_CHARACTER * characters + _WORK_PER_VALUE * count,
        largest=_SIZE + _SIZE_PER_CHARACTER * characters + _SIZE_PER_VALUE * count,
    )


def _extent(value: Any) -> tuple[int, int]:
    """Characters and values in all."""
    parts: list[tuple[int, int]] = [_extent(part) for part in _parts(value)]
    own = len(value) if isinstance(value, str) else 0
    return own + sum(characters for characters, _ in parts), 1 + sum(count for _, count in parts)


def _parts(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        mapping = cast(Mapping[Any, Any], value)
        return [*mapping.keys(), *mapping.values()]
    if isinstance(value, list | tuple | set | MappingView):
        return list(cast(Iterable[Any], value))
    return []


_METER: ContextVar[Meter] = ContextVar("meter")


def meter() -> Meter:
    """That of the rendering in which this is asked."""
    return _METER.get()


@contextmanager
def metered(allowance: Meter) -> Generator[None, None, None]:
    """Within the block templates are compiled and rendered on this allowance."""
    token = _METER.set(allowance)
    try:
        yield
    finally:
        _METER.reset(token)


def spread(value: Any) -> int:
    """Size of the value written out, or of the part of it that is already too much.

    What occurs twice counts twice, as it would be printed, compared or hashed twice.
    """
    largest, found, waiting = meter().largest, 0, [value]
    while waiting and found <= largest:
        one = waiting.pop()
        if isinstance(one, str):
            found += len(one)
        else:
            found += _ELEMENT
            waiting.extend(_parts(one))
    return found


def length(value: Any) -> int:
    """Of a text, or the number of the outermost elements."""
    return len(value) if isinstance(value, Sized) else 0


def paid(value: Any) -> Any:
    """The value itself, after paying for what is in it."""
    meter().pay(spread(value))
    return value


@pass_context
def paid_before(_: Context, value: Any, cost: int) -> Any:
    """The value, after paying a fixed price; given the context, it is never computed before the template runs."""
    meter().use(cost)
    return value


def each(values: Iterable[Any], cost: int) -> Iterator[Any]:
    use = meter().use
    for value in values:
        use(cost)
        yield value


def joined(parts: Iterable[str]) -> str:
    """As "".join, which would first make the text and then let us see how large it is."""
    allowance, kept, size = meter(), list[str](), 0
    for part in parts:
        allowance.use(STEP)
        size = allowance.fits(size + len(part))
        kept.append(part)
    allowance.use(size)
    return "".join(kept)


def concatenated(first: Any, *others: Any) -> str:
    return joined([str(paid(part)) for part in (first, *others)])


def join(values: Iterable[Any], separator: str = "", attribute: str | None = None) -> str:
    found = [str(paid(value if attribute is None else value[attribute])) for value in values]
    meter().pay(sum(map(len, found)) + len(separator) * len(found))
    return separator.join(found)


def replace(text: Any, old: str, new: str, count: int = -1) -> str:
    text = str(paid(text))
    times = text.count(old) if count < 0 else min(count, text.count(old))
    meter().pay(len(text) + times * len(new))
    return text.replace(old, new, count)


def indent(text: Any, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    text = str(paid(text))
    space = width if isinstance(width, str) else " " * min(width, _WIDEST_INDENT)
    lines = text.splitlines() or [""]
    meter().pay(len(text) + len(lines) * len(space))
    rest = [space + line if line or blank else line for line in lines[1:]]
    return "\n".join([(space if first else "") + lines[0], *rest])


def tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """As transformers has it: nothing is escaped for HTML."""
    space = None if indent is None else min(int(indent), _WIDEST_INDENT)
    meter().pay((1 + (space or 0)) * spread(value) + spread(separators))
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=space, separators=separators, sort_keys=sort_keys)
