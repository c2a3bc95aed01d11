"""Which plans a sweep tries: lists as a user types them, and the grid they span."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import TypeVar

from fewtune.errors import UsageError
from fewtune.types import Plan

Number = TypeVar("Number", int, float)

MOST_EPOCHS = 1000
RATE_CEILING = 10.0
"""No learning rate of AdamW, nor multiplier of a service, reaches this; whoever types it meant something else."""

_EXAMPLES: dict[type, str] = {int: "4,8", float: "1e-3,3e-3"}


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
