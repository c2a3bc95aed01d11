"""The hyperparameters that a sweep varied, as axes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from fewtune.report import tables, words

Scale = Literal["linear", "logarithmic", "named"]

_MOST_NAMES = 12
_MOST_VALUES = 6
_DOUBLINGS = 8
"""Counts that are this many times apart stand on a logarithmic axis: 1, 2, 4, 8 epochs are steps of one size."""
_NEAREST = 0.09
"""Share of an axis between two of its labels, at least."""


@dataclass(frozen=True, kw_only=True)
class Parameter:
    name: str
    scale: Scale
    values: tuple[Any, ...]
    """Each that occurs, in the order of the axis; names where the scale is `named`."""

    @property
    def label(self) -> str:
        return words.heading(self.name)

    @property
    def kind(self) -> str:
        """Vega-Lite's letter for what stands on the axis."""
        return "N" if self.scale == "named" else "Q"

    def read(self, plan: Mapping[str, Any]) -> Any:
        """The plan's value, as it stands in `values`."""
        return _name(plan.get(self.name)) if self.scale == "named" else plan[self.name]

    def place(self, value: Any) -> float:
        """Where a value stands between the ends of the axis, 0 to 1."""
        if self.scale == "named":
            return self.values.index(value) / (len(self.values) - 1)
        low, high, here = (
            math.log(number) if self.scale == "logarithmic" else number
            for number in (self.values[0], self.values[-1], value)
        )
        return (here - low) / (high - low)

    @property
    def ticks(self) -> tuple[Any, ...]:
        """The values to write beside the axis: those that occur where they are few, else round ones between them."""
        few = self.scale == "named" or len(self.values) <= _MOST_VALUES
        return tuple(_apart(self.values if few else self._round(), self.place))

    def _round(self) -> list[float]:
        low, high = self.values[0], self.values[-1]
        if self.scale == "logarithmic":
            powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
            rounded = [float(f"{first}e{power}") for power in powers for first in (1, 3)]
        else:
            step = _round_step((high - low) / 5)
            rounded = [number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)]
        return [value for value in rounded if low <= value <= high] or [low, high]


def _round_step(least: float) -> float:
    """1, 2 or 5 times a power of ten."""
    power = math.floor(math.log10(least))
    return next(float(f"{first}e{power}") for first in (1, 2, 5, 10) if float(f"{first}e{power}") >= 0.999 * least)


def _apart(values: Sequence[Any], place: Any) -> Iterable[Any]:
    """From the top: the highest value is always written."""
    last = math.inf
    for value in reversed(values):
        if last - place(value) >= _NEAREST:
            last = place(value)
            yield value


def varied(plans: Sequence[Mapping[str, Any]]) -> tuple[Parameter, ...]:
    """One for each hyperparameter that takes several values; so many names that no axis holds them are left out."""
    found = (_parameter(name, [plan.get(name) for plan in plans]) for name in tables.varied(plans))
    return tuple(one for one in found if len(one.values) > 1 and (one.kind == "Q" or len(one.values) <= _MOST_NAMES))


def _parameter(name: str, found: Sequence[Any]) -> Parameter:
    if not all(_is_number(value) for value in found):
        return Parameter(name=name, scale="named", values=tuple(sorted({_name(value) for value in found})))
    values = tuple(sorted(set(found)))
    counts = all(isinstance(value, int) for value in values)
    wide = name == "learning_rate" or (counts and values[-1] >= _DOUBLINGS * values[0])
    return Parameter(name=name, scale="logarithmic" if wide and values[0] > 0 else "linear", values=values)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _name(value: object) -> str:
    return words.setting(value)
