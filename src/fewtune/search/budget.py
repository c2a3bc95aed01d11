"""What a sweep may take, checked before each start and never exceeded."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from fewtune.errors import BudgetError, UsageError
from fewtune.search.folds import FINALISTS
from fewtune.search.halving import Halving

MEASURING_MARGIN = 1.25
"""How much longer the same training may seem to take when it is measured once more."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What something takes; of an estimate always the upper end."""

    tokens: float = 0.0
    minutes: float = 0.0
    usd: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(tokens=self.tokens + other.tokens, minutes=self.minutes + other.minutes, usd=self.usd + other.usd)

    def times(self, count: float) -> Cost:
        return Cost(tokens=self.tokens * count, minutes=self.minutes * count, usd=self.usd * count)


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The most that may be taken; None sets no limit."""

    tokens: float | None = None
    minutes: float | None = None
    usd: float | None = None

    def __post_init__(self) -> None:
        for name, limit in self.limits().items():
            if not limit > 0:
                raise UsageError(f"--budget-{name} is {limit:g}, which buys nothing.", fix="Give more than 0.")

    def limits(self) -> Mapping[str, float]:
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def exceeded_by(self, cost: Cost) -> str | None:
        """The first limit that the cost is above: `tokens`, `minutes` or `usd`."""
        return next((name for name, limit in self.limits().items() if getattr(cost, name) > limit), None)


@dataclass(frozen=True, kw_only=True)
class Start:
    """Something that wants to be trained, with its estimate."""

    candidate: int
    epochs: int
    cost: Cost


@dataclass(frozen=True, kw_only=True)
class Cut:
    """Something that the budget did not buy."""

    start: Start
    limit: str
    """Which limit it would have passed."""


@dataclass(frozen=True, kw_only=True)
class Admission:
    admitted: tuple[Start, ...]
    cut: tuple[Cut, ...]


def admit(budget: Budget, spent: Cost, wanted: Sequence[Start]) -> Admission:
    """Who may start, in the order given: the first whose estimate fits beside what is spent and those before it.

    Whoever does not fit is cut, and a later one that does still starts. `spent` holds what was really used, with
    the estimates of all that is under way.
    """
    admitted: list[Start] = []
    cut: list[Cut] = []
    for start in wanted:
        limit = budget.exceeded_by(spent + start.cost)
        if limit:
            cut.append(Cut(start=start, limit=limit))
        else:
            admitted.append(start)
            spent += start.cost
    return Admission(admitted=tuple(admitted), cut=tuple(cut))


def halving_epochs(halving: Halving, candidates: int, repeats: int = 0) -> int:
    """The most epochs of all rows that a whole search can take: rungs, and each finalist `repeats` times anew."""
    total, done, share = 0.0, 0, halving.rungs[0].share
    for rung in halving.rungs:
        done = done if rung.share == share else 0
        total += candidates * (rung.epochs - done) * rung.weight
        candidates, done, share = halving.kept(candidates), rung.epochs, rung.share
    return math.ceil(total) + min(FINALISTS, candidates) * halving.rungs[-1].epochs * repeats


def fewest_epochs(halving: Halving, candidates: int, shortest: int, repeats: int = 0) -> int:
    """The fewest epochs that a whole search takes, unless trainings fail.

    No curve turns before it was read twice, and a finalist is as long as the `shortest` plan at least.
    """
    total, done, share = 0.0, 0, halving.rungs[0].share
    for rung in halving.rungs:
        done = done if rung.share == share else 0
        reached = rung.epochs if halving.patience is None else min(rung.epochs, max(2, halving.rungs[0].epochs))
        total += candidates * max(0, reached - done) * rung.share
        kept = 1 if halving.rule == "median" else halving.kept(candidates)
        candidates, done, share = kept, rung.epochs, rung.share
    return math.floor(total) + min(FINALISTS, candidates) * shortest * repeats


def grid_epochs(epochs: Sequence[int], trunks: int) -> int:
    """Epochs that the whole grid takes when each plan is trained by itself: what a sweep's saving is measured by."""
    return trunks * sum(epochs)


def affordable(budget: Budget, halving: Halving, candidates: int, epoch: Cost, *, repeats: int = 0) -> int:
    """How many candidates the budget takes through the whole search, so that none is begun for nothing.

    `epoch` is the estimate of one epoch of all rows with its validation. Raises BudgetError where the budget does
    not buy a single training to the last rung, naming the least that would.
    """
    for count in range(candidates, 0, -1):
        if budget.exceeded_by(epoch.times(halving_epochs(halving, count, repeats if count > 1 else 0))) is None:
            return count
    least = epoch.times(halving_epochs(halving, 1))
    limit = budget.exceeded_by(least) or ""
    needed = getattr(least, limit)
    raise BudgetError(
        f"--budget-{limit} {budget.limits()[limit]:g} does not buy one training, which takes up to {upwards(needed)}.",
        fix=f"Allow it with --budget-{limit} {sufficient(limit, needed)}, or try fewer epochs or rows.",
    )


def sufficient(limit: str, needed: float) -> str:
    """What to propose. Minutes are measured anew each time, on a machine that may be busier then."""
    return upwards(needed * MEASURING_MARGIN if limit == "minutes" else needed)


def upwards(value: float) -> str:
    """Three digits, never less than the value, so that what is proposed suffices."""
    step = 10.0 ** (math.floor(math.log10(value)) - 2)
    return f"{math.ceil(value / step) * step:g}"
