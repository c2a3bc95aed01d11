"""Successive halving with synchronous rungs: who trains on to which epoch, as a function of what was told.

Epochs are the resource. A candidate is trained once, and rests at every rung until all have come there; so no
rung is ever paid for twice. Jamieson and Talwalkar, AISTATS 2016; the forecast is this project's. A first rung may
compare candidates on a share of the rows; and in place of the worse half, the median rule may say who is dropped.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Literal

from fewtune.errors import UsageError
from fewtune.search.reading import Reading, curves, has_failed
from fewtune.search.stopping import has_turned, is_above_median, until_turned

Rule = Literal["half", "median"]
Reason = Literal["dropped", "turned", "failed", "finished"]


@dataclass(frozen=True, kw_only=True)
class Rung:
    """Where candidates are compared."""

    epochs: int
    share: float = 1.0
    """Of the training rows. Where it differs from the rung before, those that go on start anew: what was trained on
    some of the rows is no beginning of a training on all of them."""
    weight: float = 1.0
    """The most that an epoch takes, in epochs of all rows."""


@dataclass(frozen=True, kw_only=True)
class Halving:
    """The settings of a halving; together with what is told they decide everything."""

    rungs: tuple[Rung, ...]
    """The last one is how long a candidate is trained at most."""
    eta: float = 2.0
    """Of a rung's candidates one in eta goes on, rounded up, ..."""
    fewest: int = 2
    """... and never fewer than this."""
    patience: int | None = 2
    """A candidate stops when so many validations in a row brought nothing new; None: never, however it goes."""
    rule: Rule = "half"
    """Who goes on from a rung: the better half, or all but those that the median rule stops."""

    def __post_init__(self) -> None:
        if not self.rungs:
            raise UsageError("A halving has no rung.", fix="Give at least one number of epochs.")
        if self.eta <= 1 or self.fewest < 1 or (self.patience is not None and self.patience < 1):
            raise UsageError(
                "A halving needs eta above 1, and fewest and patience of at least 1.", fix="Use the defaults."
            )
        for before, after in pairwise(self.rungs):
            if (after.share, after.epochs) <= (before.share, before.epochs):
                raise UsageError("Rungs do not rise.", fix="Sort them by rows, then by epochs.")

    def kept(self, candidates: int) -> int:
        """The most that go on from a rung."""
        if self.rule == "median":
            return candidates
        return min(candidates, max(self.fewest, math.ceil(candidates / self.eta)))


@dataclass(frozen=True, kw_only=True)
class Fate:
    """Why a candidate is not trained any further."""

    candidate: int
    epochs: int
    """How far it has come."""
    reason: Reason
    """dropped: others did better; turned: its score had stopped falling; finished: it stood the last rung."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What is to be done now."""

    advance: Mapping[int, Rung] = field(default_factory=dict[int, Rung])
    """Who has to be trained to which rung; empty when the halving is over."""
    fates: tuple[Fate, ...] = ()

    @property
    def is_over(self) -> bool:
        return not self.advance


def rungs_of(epochs: Sequence[int]) -> tuple[Rung, ...]:
    """A rung at each of the epochs that are searched."""
    return tuple(Rung(epochs=one) for one in sorted(set(epochs)))


def screened(halving: Halving, share: float, weight: float) -> Halving:
    """The same after a rung on a share of the rows, as long as the first of the others."""
    first = replace(halving.rungs[0], share=share, weight=weight)
    return replace(halving, rungs=(first, *halving.rungs))


def by_median(last: int) -> Halving:
    """Everybody is looked at after each epoch, and stopped by the median rule."""
    return Halving(rungs=rungs_of(range(1, last + 1)), rule="median")


def without_pausing(halving: Halving) -> tuple[Halving, str]:
    """The same for a provider that cannot pause, and a sentence about what that costs."""
    last = halving.rungs[-1]
    note = (
        "This provider cannot pause a training, so nobody is stopped early: "
        f"every candidate trains {last.epochs} epoch{'' if last.epochs == 1 else 's'}."
    )
    return replace(halving, rungs=(last,), patience=None), note


def decide(halving: Halving, candidates: Iterable[int], readings: Sequence[Reading]) -> Decision:
    """What is next, for candidates by their numbers, from all readings so far in any order.

    A rung is decided when each of its candidates was read at the rung's epochs, has failed or has turned; until
    then those that are missing are named again. A candidate that failed is told as a reading that is not finite.
    """
    alive, fates = tuple(sorted(set(candidates))), list[Fate]()
    by_share = {rung.share: curves(readings, rung.share) for rung in halving.rungs}
    for number, rung in enumerate(halving.rungs):
        known = {one: _up_to(by_share[rung.share].get(one, ()), rung, halving.patience) for one in alive}
        missing = tuple(one for one in alive if not _has_come(known[one], rung, halving.patience))
        if missing:
            return Decision(advance=dict.fromkeys(missing, rung), fates=tuple(fates))
        last = number == len(halving.rungs) - 1
        alive, ended = _finish(known) if last else _cut(halving, known, number)
        fates += ended
    return Decision(fates=tuple(fates))


def counted(halving: Halving, readings: Sequence[Reading]) -> tuple[Reading, ...]:
    """The readings that a winner may be chosen by: on all rows, and of each curve what lies up to its turn."""
    return tuple(
        one for curve in curves(readings).values() for one in _up_to(curve, halving.rungs[-1], halving.patience)
    )


def _up_to(readings: Sequence[Reading], rung: Rung, patience: int | None) -> Sequence[Reading]:
    return until_turned(tuple(one for one in readings if one.epochs <= rung.epochs), patience)


def _has_come(readings: Sequence[Reading], rung: Rung, patience: int | None) -> bool:
    if not readings:
        return False
    return readings[-1].epochs >= rung.epochs or has_failed(readings) or has_turned(readings, patience)


def _finish(known: Mapping[int, Sequence[Reading]]) -> tuple[tuple[int, ...], list[Fate]]:
    return (), [_fate(one, found, "failed" if has_failed(found) else "finished") for one, found in known.items()]


def _cut(halving: Halving, known: Mapping[int, Sequence[Reading]], number: int) -> tuple[tuple[int, ...], list[Fate]]:
    """Who goes on from a rung, and why the others do not."""
    failed = [one for one, found in known.items() if has_failed(found)]
    turned = [one for one, found in known.items() if one not in failed and has_turned(found, halving.patience)]
    rest = [one for one in known if one not in failed and one not in turned]
    kept = (
        _better(known, rest, halving.rungs[number]) if halving.rule == "median" else _half(halving, known, rest, number)
    )
    dropped = [one for one in rest if one not in kept]
    reasons: tuple[tuple[Sequence[int], Reason], ...] = (
        (failed, "failed"),
        (turned, "turned"),
        (dropped, "dropped"),
    )
    return kept, [_fate(one, known[one], reason) for group, reason in reasons for one in group]


def _half(
    halving: Halving, known: Mapping[int, Sequence[Reading]], rest: Sequence[int], number: int
) -> tuple[int, ...]:
    """The better half of all that came to the rung, by their forecasts, best first."""
    rung = halving.rungs[number]
    earlier = [one.epochs for one in halving.rungs[:number] if one.share == rung.share]
    forecasts = {one: forecast(known[one], earlier) for one in rest}
    return tuple(sorted(rest, key=lambda one: (forecasts[one], one))[: halving.kept(len(known))])


def _better(known: Mapping[int, Sequence[Reading]], rest: Sequence[int], rung: Rung) -> tuple[int, ...]:
    return tuple(one for one in rest if not is_above_median(one, known, rung.epochs))


def forecast(readings: Sequence[Reading], rungs: Sequence[int] = ()) -> float:
    """The score at the next rung if it falls by as much as since the last one; never above the present score.

    Rates too high to end well lead at first, and slow ones are judged too early: of what is still falling the
    fall counts, not only where it is.
    """
    now = readings[-1]
    before = [one for one in readings[:-1] if one.epochs in rungs]
    return now.score - max(0.0, before[-1].score - now.score) if before else now.score


def _fate(candidate: int, readings: Sequence[Reading], reason: Reason) -> Fate:
    return Fate(candidate=candidate, epochs=readings[-1].epochs, reason=reason)
