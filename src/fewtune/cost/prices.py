"""The dated, sourced price table that comes with the package."""

from __future__ import annotations

import datetime
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal, TypeGuard, cast, get_args

from fewtune.errors import FewtuneError

What = Literal["train", "input", "output", "hosting"]
ValidationBilling = Literal["each", "once", "unknown"]

_REQUIRED = frozenset({"service", "model", "what", "usd", "source", "date", "verified", "note"})
_OPTIONAL = frozenset({"validation", "last_day"})


@dataclass(frozen=True, kw_only=True)
class Price:
    """One rate of one service, never without where it stands and when it was read there."""

    service: str
    model: str
    """A model's name, or the sizes of models that share the rate."""
    what: What
    """`hosting` is dollars per hour, the others dollars per million tokens."""
    low: float
    high: float
    """Equal to `low` unless the source gives a range."""
    source: str
    date: datetime.date
    verified: bool
    """Read on the service's own page, or in a dated transcript that quotes it word for word."""
    validation: ValidationBilling
    """Whether a pass over the validation rows is billed at the training rate."""
    last_day: datetime.date | None
    """Last day on which the service takes a new job, where it has named one."""
    note: str


def load() -> tuple[Price, ...]:
    """The table that comes with the package, in its order."""
    return parse((files("fewtune.cost") / "prices.toml").read_text(encoding="utf-8"), where="prices.toml")


def parse(text: str, *, where: str) -> tuple[Price, ...]:
    """Read a table of `[[price]]` entries.

    Raises FewtuneError for an entry without source or date, and for anything else that could make a number
    look better founded than it is: an unknown or missing field, an unknown kind, a negative or reversed price.
    """
    entries = tomllib.loads(text).get("price", [])
    return tuple(_price(entry, f"{where}, price {number}") for number, entry in enumerate(entries, start=1))


def available(prices: Iterable[Price], today: datetime.date) -> tuple[Price, ...]:
    """The prices of services that still take new jobs on that day."""
    return tuple(price for price in prices if price.last_day is None or today <= price.last_day)


def _price(entry: Mapping[str, Any], where: str) -> Price:
    _check_fields(entry, where)
    low, high = _ends(entry["usd"], where)
    return Price(
        service=entry["service"],
        model=entry["model"],
        what=entry["what"],
        low=low,
        high=high,
        source=entry["source"],
        date=entry["date"],
        verified=entry["verified"],
        validation=entry.get("validation", "unknown"),
        last_day=entry.get("last_day"),
        note=entry["note"],
    )


def _check_fields(entry: Mapping[str, Any], where: str) -> None:
    missing, unknown = _REQUIRED - entry.keys(), entry.keys() - _REQUIRED - _OPTIONAL
    if missing or unknown:
        raise FewtuneError(
            f"The price has {_listed('no', missing)}{' and ' if missing and unknown else ''}"
            f"{_listed('the unknown', unknown)}.",
            where=where,
        )
    for name in ("service", "model", "source"):
        if not isinstance(entry[name], str) or not entry[name].strip():
            raise FewtuneError(f"The price's {name} is empty.", where=where)
    if type(entry["date"]) is not datetime.date:
        raise FewtuneError("The price's date is not a plain day such as 2026-10-07.", where=where)
    if type(entry["verified"]) is not bool:
        raise FewtuneError("Whether the price was verified is neither true nor false.", where=where)
    _check_choice(entry, "what", get_args(What), where)
    _check_choice(entry, "validation", get_args(ValidationBilling), where)


def _listed(word: str, names: Iterable[str]) -> str:
    return f"{word} {', '.join(sorted(names))}" if names else ""


def _check_choice(entry: Mapping[str, Any], name: str, choices: tuple[str, ...], where: str) -> None:
    if entry.get(name, choices[0]) not in choices:
        raise FewtuneError(f"The price's {name} is none of {', '.join(choices)}.", where=where)


def _ends(usd: object, where: str) -> tuple[float, float]:
    ends = cast("list[object]", usd) if isinstance(usd, list) else [usd, usd]
    if len(ends) != 2 or not _is_amount(ends[0]) or not _is_amount(ends[1]) or ends[0] > ends[1]:
        raise FewtuneError("The price's usd is neither an amount nor [lowest, highest].", where=where)
    return float(ends[0]), float(ends[1])


def _is_amount(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")
