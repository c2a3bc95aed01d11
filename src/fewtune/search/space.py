"""Which plans a sweep tries: the axes of a search, and the grid that lists of values span."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, TypeVar

from fewtune.errors import UsageError
from fewtune.search.axis import FIELDS, RATE_CEILING, Axis, Choices
from fewtune.types import Plan

Number = TypeVar("Number", int, float)

MOST_EPOCHS = 1000

_EXAMPLES: dict[type, str] = {int: "4,8", float: "1e-3,3e-3"}


@dataclass(frozen=True, kw_only=True)
class Space:
    """What is searched. Epochs are rungs of one training and seeds are repeats, so neither is an axis."""

    base_plan: Plan
    """All that is not searched."""
    axes: Mapping[str, Axis]
    """By the plan's field; a field with a single value counts as well."""
    epochs: tuple[int, ...]
    """Rising; each is a plan to choose from, the last one how long a candidate is trained."""
    seeds: tuple[int, ...] = (0,)
    """The first one trains the candidates; the finalists are trained with all of them. The best of several seeds is
    luck and not a setting, so they are averaged and none is chosen."""

    @property
    def size(self) -> int | None:
        """Number of candidates; None where an axis is a range."""
        counts = [len(axis.values) if isinstance(axis, Choices) else None for axis in self.axes.values()]
        return None if None in counts else math.prod(count for count in counts if count is not None)

    def candidate(self, units: Sequence[float]) -> Plan:
        """The plan at a point of the unit cube, one coordinate in [0, 1) an axis."""
        return self.plan({name: axis.at(unit) for (name, axis), unit in zip(self.axes.items(), units, strict=True)})

    def units(self, plan: Plan) -> tuple[float, ...]:
        """A point at which the plan lies."""
        return tuple(axis.unit(float(getattr(plan, name))) for name, axis in self.axes.items())

    def plan(self, values: Mapping[str, float]) -> Plan:
        """The plan with these values; alpha keeps its ratio to the rank, so that a rate means the same at any rank.

        Whether the best rate depends on the rank turns on how alpha does: arXiv 2602.06204.
        """
        fields: dict[str, Any] = {name: int(v) if FIELDS[name].whole else v for name, v in values.items()}
        if "rank" in fields:
            fields["alpha"] = max(1, round(self.base_plan.alpha / self.base_plan.rank * fields["rank"]))
        return replace(self.base_plan, epochs=self.epochs[-1], **fields)


def space(base_plan: Plan, axes: Mapping[str, Axis], *, rows: int, seed: int = 0) -> Space:
    """Put axes together and check what only the data can tell; `rows` is the number of training rows.

    A range of epochs becomes its doublings. Raises UsageError for a batch larger than the data and a range of seeds.
    """
    for value in _ends(axes.get("batch_size")):
        _check_largest("--batch-size", [int(value)], rows, "the number of training rows")
    seeds = axes.get("seed", Choices(values=(float(seed),)))
    if not isinstance(seeds, Choices):
        raise UsageError("--seeds has a range, and seeds are repeats.", fix="List them, as in --seeds 0,1,2.")
    return Space(
        base_plan=base_plan,
        axes={name: axis for name, axis in axes.items() if name not in ("epochs", "seed")},
        epochs=_rungs(axes.get("epochs", Choices(values=(float(base_plan.epochs),)))),
        seeds=tuple(int(value) for value in seeds.values),
    )


def _rungs(axis: Axis) -> tuple[int, ...]:
    if isinstance(axis, Choices):
        return tuple(sorted(int(value) for value in axis.values))
    epochs = [int(axis.low)]
    while epochs[-1] < axis.high:
        epochs.append(min(2 * epochs[-1], int(axis.high)))
    return tuple(epochs)


def _ends(axis: Axis | None) -> tuple[float, ...]:
    if axis is None:
        return ()
    return axis.values if isinstance(axis, Choices) else (axis.low, axis.high)


def parse_list(option: str, text: str, kind: type[Number]) -> tuple[Number, ...]:
    """Read numbers separated by commas: counts for `int`, learning rates for `float`.

    Repeated values are read once, in their first place. Raises UsageError, naming the option and the nearest
    value that works, for an empty list and for anything that is not a count of at least 1, or not a rate
    above 0 and below 10.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words:
        raise UsageError(f"{option} is empty.", fix=f"Give at least one value, as in {option} {_EXAMPLES[kind]}.")
    return tuple(dict.fromkeys(_number(option, word, kind) for word in words))


def grid(
    base_plan: Plan,
    *,
    epochs: Sequence[int],
    batch_sizes: Sequence[int],
    learning_rates: Sequence[float],
    rows: int,
) -> tuple[Plan, ...]:
    """Every combination, all else as in `base_plan`; plans that differ in epochs alone stand together.

    `rows` is the number of training rows. Raises UsageError for a batch larger than that, for more than 1000
    epochs, for values that `parse_list` would refuse, and for an axis without values.
    """
    axes: tuple[tuple[str, Sequence[float]], ...] = (
        ("--epochs", epochs),
        ("--batch-size", batch_sizes),
        ("--learning-rate", learning_rates),
    )
    for option, values in axes:
        if not values:
            raise UsageError(f"{option} has no value.", fix="Give at least one.")
    _check_largest("--epochs", epochs, MOST_EPOCHS, "the most that is allowed")
    _check_largest("--batch-size", batch_sizes, rows, "the number of training rows")
    for rate in learning_rates:
        _check_rate("--learning-rate", rate)
    combinations = product(dict.fromkeys(batch_sizes), dict.fromkeys(learning_rates), dict.fromkeys(epochs))
    return tuple(
        replace(base_plan, batch_size=batch, learning_rate=rate, epochs=count) for batch, rate, count in combinations
    )


def _number(option: str, word: str, kind: type[Number]) -> Number:
    try:
        value = kind(word)
    except ValueError:
        raise UsageError(f"{option} has {word!r}, {_not_a(kind)}.", fix=_nearest(option, word, kind)) from None
    if kind is int:
        _check_count(option, int(value))
    else:
        _check_rate(option, value)
    return value


def _not_a(kind: type) -> str:
    return "which is not a whole number" if kind is int else "which is not a number"


def _nearest(option: str, word: str, kind: type) -> str:
    """A count given as 4.0 or 4.5 has a near neighbour; words have none, so they get an example."""
    try:
        number = float(word)
    except ValueError:
        number = math.nan
    if kind is int and math.isfinite(number):
        return f"Use {option} {max(1, round(number))}."
    return f"Separate numbers by commas, as in {option} {_EXAMPLES[kind]}."


def _check_count(option: str, value: int) -> None:
    if value < 1:
        raise UsageError(f"{option} has {value}, which is below 1.", fix=f"Use {option} 1.")


def _check_largest(option: str, values: Sequence[int], largest: int, meaning: str) -> None:
    for value in values:
        _check_count(option, value)
        if value > largest:
            raise UsageError(
                f"{option} has {value}, which is above {largest}, {meaning}.", fix=f"Use {option} {largest}."
            )


def _check_rate(option: str, value: float) -> None:
    if math.isnan(value) or value <= 0:
        raise UsageError(f"{option} has {value:g}, which is not above 0.", fix=f"Use {option} 1e-3 or so.")
    if value >= RATE_CEILING:
        raise UsageError(
            f"{option} has {value:g}, and no learning rate of {RATE_CEILING:g} or more can train.",
            fix=f"Use {option} {_moved_below_one(value)}.",
        )


def _moved_below_one(value: float) -> str:
    """The same digits as a rate that occurs: 3e3 was most likely meant as 3e-3."""
    digits = f"{value:.0e}".partition("e")[0] if math.isfinite(value) else "1"
    return f"{digits}e-3"
