"""Which candidate to try next: one protocol, and the ways that need no model of what was seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Protocol

import numpy as np

from fewtune.errors import UsageError
from fewtune.search.axis import Choices
from fewtune.search.space import Space
from fewtune.types import Plan

_TRIES = 1000
"""Points in a row that may give a plan which is known already, before a space counts as used up."""


class Searcher(Protocol):
    """Its state is the space, the seed and what was told, so telling the same again gives the same plans next.

    What was asked and not told counts as under way. To go on after a kill, or to extend a finished search, tell a new
    searcher all stored candidates in the order in which they were asked for, with None where there is no score yet.
    """

    def ask(self, count: int) -> tuple[Plan, ...]:
        """New candidates, none of which was asked or told before; fewer where the space is used up."""
        ...

    def tell(self, plan: Plan, score: float | None) -> None:
        """A candidate's score, lower is better; None while it is under way, not finite if it failed."""
        ...


class GridSearcher:
    """Every combination of the listed values, the last axis changing fastest."""

    def __init__(self, space: Space) -> None:
        for name, axis in space.axes.items():
            if not isinstance(axis, Choices):
                fix = "List its values, or search with --searcher quasi."
                raise UsageError(f"A grid needs lists, and {name} has a range.", fix=fix)
        self._space = space
        self._known: set[Plan] = set()
        self._plans = self._combinations()

    def ask(self, count: int) -> tuple[Plan, ...]:
        return _fresh(self._plans, self._known, count)

    def tell(self, plan: Plan, score: float | None) -> None:
        self._known.add(plan)

    def _combinations(self) -> Iterator[Plan]:
        lists = [axis.values for axis in self._space.axes.values() if isinstance(axis, Choices)]
        for values in product(*lists):
            yield self._space.plan(dict(zip(self._space.axes, values, strict=True)))


class GivenSearcher:
    """Plans that were found elsewhere, in their order."""

    def __init__(self, plans: Sequence[Plan]) -> None:
        self._plans = iter(plans)
        self._known: set[Plan] = set()

    def ask(self, count: int) -> tuple[Plan, ...]:
        return _fresh(self._plans, self._known, count)

    def tell(self, plan: Plan, score: float | None) -> None:
        self._known.add(plan)


class RandomSearcher:
    """Points by chance, or spread evenly: every stretch of a quasi-random sequence covers the space.

    The even sequence adds powers of the root of x ** (axes + 1) = x + 1, from a start drawn with the seed (Roberts,
    The Unreasonable Effectiveness of Quasirandom Sequences, 2018; a rank-1 Kronecker sequence).
    """

    def __init__(self, space: Space, seed: int, *, even: bool = True) -> None:
        self._space, self._seed, self._even = space, seed, even
        self._known: set[Plan] = set()
        self._plans = self._points()

    def ask(self, count: int) -> tuple[Plan, ...]:
        return _fresh(self._plans, self._known, count)

    def tell(self, plan: Plan, score: float | None) -> None:
        self._known.add(plan)

    def _points(self) -> Iterator[Plan]:
        axes = len(self._space.axes)
        start = np.random.default_rng(self._seed).random(axes)
        step = _root(axes) ** -np.arange(1, axes + 1)
        number = since_new = 0
        while since_new < _TRIES:
            chance = np.random.default_rng([self._seed, number])
            units = (start + number * step) % 1.0 if self._even else chance.random(axes)
            plan = self._space.candidate([float(unit) for unit in units])
            number, since_new = number + 1, since_new + 1
            if plan not in self._known:
                since_new = 0
                yield plan


def _fresh(plans: Iterator[Plan], known: set[Plan], count: int) -> tuple[Plan, ...]:
    """The next plans that are not known, which are known from now on."""
    found: list[Plan] = []
    while len(found) < count and (plan := next(plans, None)) is not None:
        if plan not in known:
            known.add(plan)
            found.append(plan)
    return tuple(found)


def _root(axes: int) -> float:
    root = 2.0
    for _ in range(40):
        root = (1 + root) ** (1 / (axes + 1))
    return root
