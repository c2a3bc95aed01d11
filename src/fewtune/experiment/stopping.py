"""Who a search stops early, and by what: rungs, a first rung on a share of the rows, or the median rule."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from fewtune import providers
from fewtune.errors import UsageError
from fewtune.experiment.preparation import Prepared
from fewtune.experiment.rows import TOKEN_MARGIN, characters, in_order
from fewtune.experiment.settings import RunSettings
from fewtune.search.axis import Choices
from fewtune.search.halving import Halving, Rung, by_median, rungs_of, screened, without_pausing
from fewtune.search.space import Space
from fewtune.types import Example

ENOUGH_TO_HALVE = 4
"""Candidates from which on a sweep stops some of them early; of fewer there is too little to save."""


@dataclass(frozen=True, kw_only=True)
class Stopping:
    halving: Halving
    """With a single rung where everybody trains to the end."""
    screening: tuple[Example, ...] = ()
    """The rows of the first rung, where it takes a share of them."""
    note: str | None = None
    """What the provider does not allow."""


def stopping(settings: RunSettings, searched: Space, searcher: str, wanted: int, prepared: Prepared) -> Stopping:
    """As the settings want it; without rungs nobody is stopped.

    Raises UsageError for rules that exclude each other, and for a share that makes no batch.
    """
    last = searched.epochs[-1]
    _check_rules(settings, searcher, last)
    rows = _share(settings, searched, prepared)
    halving = _wanted(settings, searched, searcher, wanted)
    if halving and rows:
        assert settings.rung_share
        halving = screened(halving, settings.rung_share, _weight(rows, prepared))
    if halving is None:
        return Stopping(halving=Halving(rungs=(Rung(epochs=last),), patience=None))
    if not providers.kind(settings.provider).pauses:
        degraded, note = without_pausing(halving)
        return Stopping(halving=degraded, note=note)
    return Stopping(halving=halving, screening=rows)


def _check_rules(settings: RunSettings, searcher: str, last: int) -> None:
    if settings.median_stop and (settings.halving or settings.rung_share):
        raise UsageError(
            "--median-stop is for searches without rungs, and rungs were asked for.",
            fix="Leave out --median-stop, or --halving and --rung-share.",
        )
    if settings.rung_share and settings.halving is False:
        raise UsageError(
            "--rung-share makes the first rung, and --no-halving leaves out all of them.",
            fix="Leave out one of the two.",
        )
    if settings.median_stop and last == 1:
        raise UsageError("--median-stop stops between two epochs, and there is one.", fix="Search more --epochs.")
    if searcher == "tpe" and (settings.halving or settings.median_stop):
        option = "--halving" if settings.halving else "--median-stop"
        raise UsageError(
            "TPE learns from trainings that went to the end, so nobody is stopped early.",
            fix=f"Leave out {option}, or search with --searcher quasi.",
        )


def _wanted(settings: RunSettings, searched: Space, searcher: str, wanted: int) -> Halving | None:
    last = searched.epochs[-1]
    if settings.median_stop:
        return by_median(last)
    automatic = wanted >= ENOUGH_TO_HALVE and searcher != "tpe"
    wants = automatic if settings.halving is None else settings.halving
    rungs = rungs_of(searched.epochs if searched.epochs[1:] else _doublings(last))
    return Halving(rungs=rungs) if wants and (len(rungs) > 1 or settings.rung_share) else None


def _doublings(last: int) -> Sequence[int]:
    """Where candidates can be compared on the way to a single length."""
    return [last // divisor for divisor in (4, 2, 1) if last // divisor]


def _share(settings: RunSettings, searched: Space, prepared: Prepared) -> tuple[Example, ...]:
    """The rows of a first rung: drawn by the seed, in the order of the file."""
    share, rows = settings.rung_share, prepared.split.train
    if share is None:
        return ()
    if not 0 < share < 1:
        raise UsageError(f"--rung-share is {share:g}, and a share lies between 0 and 1.", fix="Use --rung-share 0.25.")
    count, batch = round(share * len(rows)), _largest_batch(searched)
    if count < batch:
        least = math.ceil(100 * batch / len(rows)) / 100
        fix = f"Use --rung-share {least:g}." if least < 1 else "Leave it out."
        raise UsageError(
            f"--rung-share {share:g} leaves {count} of {len(rows)} rows, fewer than a batch of {batch}.", fix=fix
        )
    drawn = random.Random(f"{settings.seed} rung").sample(rows, count)
    return in_order(drawn)


def _largest_batch(searched: Space) -> int:
    axis = searched.axes.get("batch_size")
    if axis is None:
        return searched.base_plan.rows_per_step
    largest = max(axis.values) if isinstance(axis, Choices) else axis.high
    return int(largest) * searched.base_plan.gradient_accumulation


def _weight(rows: Sequence[Example], prepared: Prepared) -> float:
    """The most that an epoch of these rows takes of one of all rows; validation is the same in both."""
    valid = characters(prepared.split.valid)
    return min(1.0, TOKEN_MARGIN * (characters(rows) + valid) / (characters(prepared.split.train) + valid))
