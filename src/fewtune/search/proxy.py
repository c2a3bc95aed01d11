"""A plan found on a cheap base, translated for an expensive one."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fewtune.search.prior import learning_rate_prior
from fewtune.types import Plan


@dataclass(frozen=True, kw_only=True)
class Translated:
    plan: Plan
    risk: str
    """What may go wrong, for the reader."""


def translate(plan: Plan, *, base: str, from_width: int, to_width: int | None = None) -> Translated:
    """The plan for another base: its rate keeps its distance to the prior, all else stays.

    With `to_width` None the base is behind a service that takes a multiplier of its own rate, and the plan's distance
    to the cheap base's prior is that multiplier. It has two significant digits: more would claim what is not known.
    """
    distance = plan.learning_rate / learning_rate_prior(from_width)
    rate = distance if to_width is None else distance * learning_rate_prior(to_width)
    told = float(f"{rate:.1e}")
    kind = "multiplier" if to_width is None else "rate"
    risk = (
        f"The plan was found on {plan.base}. Its {kind} for {base}, {told:g}, is carried over by a formula, which is "
        "usually right within a factor of 2 to 3. That epochs and batch size carry over is an assumption: a larger "
        "base learns a small data set in fewer epochs, so watch its validation loss."
    )
    return Translated(plan=replace(plan, base=base, learning_rate=told), risk=risk)
