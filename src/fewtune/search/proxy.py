"""A plan found on a cheap base, translated for another one."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fewtune.search.axis import FEWEST_MULTIPLIER, MOST_ABSOLUTE, RATE_CEILING, RateKind
from fewtune.search.prior import learning_rate_prior
from fewtune.types import Plan

_LARGEST_ABSOLUTE = MOST_ABSOLUTE / 2


@dataclass(frozen=True, kw_only=True)
class Translated:
    plan: Plan
    kind: RateKind
    """Of the plan's learning rate."""


def translate(plan: Plan, *, base: str, from_width: int, to_width: int | None = None) -> Translated:
    """The plan for another base: its rate keeps its distance to the prior (`learning_rate_prior`), all else stays.

    With `to_width` None the base is behind a service that takes a multiplier of its own rate, and the plan's distance
    to the cheap base's prior is that multiplier. It has two significant digits, since more would claim what is not
    known, and stays within what a service or an adapter can be trained with.
    """
    distance = plan.learning_rate / learning_rate_prior(from_width)
    if to_width is None:
        rate, low, high = distance, FEWEST_MULTIPLIER, RATE_CEILING
    else:
        rate, low, high = distance * learning_rate_prior(to_width), 0.0, _LARGEST_ABSOLUTE
    told = min(high, max(low, float(f"{rate:.1e}")))
    return Translated(
        plan=replace(plan, base=base, learning_rate=told), kind="multiplier" if to_width is None else "absolute"
    )


def risk(cheap: str, base: str, kind: RateKind) -> str:
    """What may go wrong, for the reader."""
    name = "multiplier" if kind == "multiplier" else "learning rate"
    return (
        f"The plans were found on {cheap}. Their {name} for {base} is carried over by a formula, usually right within "
        "a factor of 2 to 3; that epochs and batch size carry over is an assumption. A larger base learns few "
        "rows in fewer epochs, so watch its validation loss."
    )
