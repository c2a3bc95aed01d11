"""One hyperparameter of a search, as a user types it: `1,2,4`, `4..16`, `1e-4..3e-3 log`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from fewtune.errors import UsageError

RateKind = Literal["absolute", "multiplier"]
Scale = Literal["linear", "log"]

RATE_CEILING = 10.0
"""No learning rate of AdamW, nor multiplier of a service, reaches this; whoever types it meant something else."""
FEWEST_MULTIPLIER = 0.01
"""Below it lies no multiplier that a service takes; it is a rate that was typed where a multiplier belongs."""
MOST_ABSOLUTE = 0.1
"""Above it lies no rate that LoRA trains with; it is a multiplier that was typed where a rate belongs."""


@dataclass(frozen=True, kw_only=True)
class Choices:
    """A list of values, in the order given, none twice."""

    values: tuple[float, ...]

    def at(self, unit: float) -> float:
        """The value at a place in [0, 1)."""
        return self.values[int(unit * len(self.values))]

    def unit(self, value: float) -> float:
        """A place where the value, or else the nearest one, is."""
        nearest = min(range(len(self.values)), key=lambda place: abs(self.values[place] - value))
        return (nearest + 0.5) / len(self.values)


@dataclass(frozen=True, kw_only=True)
class Range:
    """All values between two ends, both included."""

    low: float
    high: float
    scale: Scale
    whole: bool

    def at(self, unit: float) -> float:
        """The value at a place in [0, 1): every whole number, or every fraction, alike on its scale."""
        low, high = self._ends()
        value = low * (high / low) ** unit if self.scale == "log" else low + (high - low) * unit
        return float(min(self.high, max(self.low, round(value)))) if self.whole else value

    def unit(self, value: float) -> float:
        """A place where the value is."""
        low, high = self._ends()
        if self.scale == "log":
            place = math.log(value / low) / math.log(high / low) if value > 0 else 0.0
        else:
            place = (value - low) / (high - low)
        return min(1.0, max(0.0, place))

    def _ends(self) -> tuple[float, float]:
        """A whole number is as wide as its rounding, at the ends too."""
        return (self.low - 0.5, self.high + 0.5) if self.whole else (self.low, self.high)


Axis = Choices | Range


@dataclass(frozen=True, kw_only=True)
class Field:
    """What values a hyperparameter can have."""

    name: str
    """As in `Plan`; `seed` is the trial's."""
    option: str
    whole: bool
    low: float
    high: float
    scale: Scale
    """Of a range that does not say."""
    example: str


FIELDS: Mapping[str, Field] = {
    one.name: one
    for one in (
        Field(name="epochs", option="--epochs", whole=True, low=1, high=1000, scale="log", example="1,2,4,8"),
        Field(name="batch_size", option="--batch-size", whole=True, low=1, high=65536, scale="log", example="2,8"),
        Field(
            name="learning_rate",
            option="--learning-rate",
            whole=False,
            low=0.0,
            high=RATE_CEILING,
            scale="log",
            example="1e-4..3e-3 log",
        ),
        Field(name="rank", option="--rank", whole=True, low=1, high=1024, scale="log", example="4..16"),
        Field(
            name="prompt_loss_weight",
            option="--prompt-loss-weight",
            whole=False,
            low=0.0,
            high=1.0,
            scale="linear",
            example="0,0.1",
        ),
        Field(name="adapt_top", option="--adapt-top", whole=False, low=0.01, high=1.0, scale="linear", example="0.5,1"),
        Field(name="seed", option="--seeds", whole=True, low=0, high=2**31 - 1, scale="linear", example="0,1,2"),
    )
}


def parse_axis(field: Field, text: str, *, rate: RateKind = "absolute") -> Axis:
    """Read a list or a range of one hyperparameter; `rate` is what the provider takes as a learning rate.

    Raises UsageError, with the nearest thing that works, for an empty list or range, a value that is no number or
    outside the field's limits, and a rate where a multiplier belongs or the other way round.
    """
    if ".." in text:
        return _range(field, text, rate)
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words:
        raise UsageError(f"{field.option} is empty.", fix=f"Give at least one value, as in {_example(field)}.")
    return choices(field, [_number(field, word) for word in words], rate=rate)


def choices(field: Field, values: Sequence[float], *, rate: RateKind = "absolute") -> Choices:
    """A list of numbers as an axis, checked like a typed one."""
    if not values:
        raise UsageError(f"{field.option} is empty.", fix=f"Give at least one value, as in {_example(field)}.")
    for value in values:
        _check(field, value, rate)
    return Choices(values=tuple(dict.fromkeys(values)))


def _range(field: Field, text: str, rate: RateKind) -> Range:
    span, _, scale = text.strip().partition(" ")
    scale = scale.strip() or field.scale
    ends = [_number(field, word.strip()) for word in span.split("..")]
    if len(ends) != 2 or scale not in ("linear", "log"):
        raise UsageError(
            f"{field.option} has {text.strip()!r}, which is no range.", fix=f"Write it as {_written(field)}."
        )
    for end in ends:
        _check(field, end, rate)
    low, high = ends
    if low >= high:
        raise UsageError(f"{field.option} has the empty range {low:g}..{high:g}.", fix=_turned(field, low, high))
    if scale == "log" and low <= 0:
        raise UsageError(
            f"{field.option} has a log range that begins at {low:g}.", fix=f"Use {span} linear, or begin above 0."
        )
    return Range(low=low, high=high, scale="log" if scale == "log" else "linear", whole=field.whole)


def _turned(field: Field, low: float, high: float) -> str:
    return f"Use {field.option} {low:g}." if low == high else f"Use {field.option} {high:g}..{low:g}."


def _number(field: Field, word: str) -> float:
    try:
        value = float(word)
    except ValueError:
        kind = "whole number" if field.whole else "number"
        fix = f"Separate {kind}s by commas, or give two ends, as in {_example(field)}."
        raise UsageError(f"{field.option} has {word!r}, which is not a {kind}.", fix=fix) from None
    if field.whole and math.isfinite(value) and value != int(value):
        near = max(int(field.low), round(value))
        raise UsageError(
            f"{field.option} has {word!r}, which is not a whole number.", fix=f"Use {field.option} {near}."
        )
    return value


def _check(field: Field, value: float, rate: RateKind) -> None:
    if field.name == "learning_rate":
        _check_rate(field.option, value, rate)
    elif not field.low <= value <= field.high:
        near = field.high if value > field.high else field.low
        raise UsageError(
            f"{field.option} has {value:g}, and it lies between {field.low:g} and {field.high:g}.",
            fix=f"Use {field.option} {near:g}.",
        )


def _check_rate(option: str, value: float, rate: RateKind) -> None:
    if math.isnan(value) or value <= 0:
        near = "1e-3 or so" if rate == "absolute" else "1"
        raise UsageError(f"{option} has {value:g}, which is not above 0.", fix=f"Use {option} {near}.")
    if rate == "multiplier" and (value < FEWEST_MULTIPLIER or value > RATE_CEILING):
        raise UsageError(
            f"{option} has {value:g}, and this provider takes a multiplier of its own rate, where 1 is the default.",
            fix=f"Use {option} 1, or values around it such as 0.5,1,2.",
        )
    if rate == "absolute" and value >= MOST_ABSOLUTE:
        raise UsageError(
            f"{option} has {value:g}, and no learning rate of {MOST_ABSOLUTE:g} or more can train an adapter.",
            fix=f"Use {option} {_moved_below_one(value)}.",
        )


def _moved_below_one(value: float) -> str:
    """The same digits as a rate that occurs: 3e3 was most likely meant as 3e-3."""
    digits = f"{value:.0e}".partition("e")[0] if math.isfinite(value) else "1"
    return f"{digits}e-3"


def _example(field: Field) -> str:
    return f"{field.option} {field.example}"


def _written(field: Field) -> str:
    return f"{field.option} 4..16" if field.whole else f"{field.option} 1e-4..3e-3 log"
