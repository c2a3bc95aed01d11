"""What a sweep will take, here and elsewhere, before anything is spent."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from fewtune import providers
from fewtune.cost import prices
from fewtune.cost.estimate import MachineSpeed, Offer, Range, Tokens, approximate_tokens, estimate, spoken_duration
from fewtune.data.tokens import count_tokens
from fewtune.errors import BudgetError
from fewtune.experiment.display import estimate_html, estimate_line
from fewtune.experiment.preparation import Prepared
from fewtune.experiment.settings import RunSettings
from fewtune.search.budget import MEASURING_MARGIN
from fewtune.types import Example, Plan

FREE_MINUTES = 10.0
"""A sweep that is likely to take longer asks for `--budget-minutes` first. By the upper end of the estimate, which no
budget may be exceeded by, most of what takes a few minutes would be refused on a machine with other work."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Tokens of a sweep and what they cost where."""

    epochs_total: int
    """The most: all who may go on at a rung do, and the finalists are the longest plans."""
    epochs_fewest: int
    """The fewest; equal to the most where nobody can be stopped and nothing is repeated."""
    tokens: Tokens
    offers: tuple[Offer, ...]
    """This machine first, if it is known how fast it is; then services, cheapest first. Lower ends are for the fewest
    epochs, upper ends for the most."""
    searched: Estimate | None = None
    """What the search on a cheap base takes before, where there is one."""

    @property
    def here(self) -> Offer | None:
        return next((offer for offer in self.offers if offer.date is None), None)

    def __repr__(self) -> str:
        return f"Estimate({estimate_line(self)})"

    def _repr_html_(self) -> str:
        return estimate_html(self)


def estimate_sweep(
    prepared: Prepared, plans: Sequence[Plan], epochs: int, fewest: int, settings: RunSettings, today: datetime.date
) -> Estimate:
    """Price so many epochs everywhere; the speed of this machine is measured where torch is installed.

    Raises TrainingError where the sweep does not fit into this machine's memory.
    """
    tokens = Tokens(
        train_per_epoch=_count(prepared, prepared.split.train), valid=_count(prepared, prepared.split.valid)
    )
    speed = _speed(prepared, settings, plans)
    most, least = (
        estimate(
            tokens,
            epochs_total=count,
            validations=count,
            prices=prices.available(prices.load(), today),
            machine=speed,
        )
        for count in (epochs, fewest)
    )
    lower = {(one.service, one.model): one for one in least}
    offers = tuple(_from(lower[one.service, one.model], one) for one in most)
    return Estimate(epochs_total=epochs, epochs_fewest=fewest, tokens=tokens, offers=offers)


def _from(least: Offer, most: Offer) -> Offer:
    """The same offer from its cheapest to its dearest."""
    seconds = most.seconds and least.seconds and Range(low=least.seconds.low, high=most.seconds.high)
    ends = least.likely_seconds, most.likely_seconds
    return replace(
        most,
        tokens_billed=Range(low=least.tokens_billed.low, high=most.tokens_billed.high),
        usd=Range(low=least.usd.low, high=most.usd.high),
        seconds=seconds,
        likely_seconds=None if None in ends else fmean(one for one in ends if one is not None),
    )


def _count(prepared: Prepared, examples: Sequence[Example]) -> Range:
    if prepared.encoder is not None:
        counted = count_tokens(examples, prepared.encoder, prepared.seed).all
        return Range(low=counted.low, high=counted.high)
    total = Range.exactly(0)
    for example in examples:
        total += approximate_tokens(example.prompt + example.completion)
    return total


def _speed(prepared: Prepared, settings: RunSettings, plans: Sequence[Plan]) -> MachineSpeed | None:
    """Real steps on the first training rows; None without torch, or for a base that is not here."""
    if prepared.encoder is None:
        return None
    try:
        from fewtune.engine import base_model, memory, speed
    except ImportError:
        return None
    # The nodes of a cluster say themselves what they can hold; one trial is measured, to know how long it takes here.
    plans = plans[:1] if providers.kind(settings.provider).elsewhere else plans
    rows = (*prepared.split.train, *prepared.split.valid)
    memory.check(settings.base, plans, rows, precision=settings.base_precision, recipe=settings.recipe)
    encoded = [prepared.encoder.example(example) for example in prepared.split.train]
    base = base_model.load(settings.base, precision=settings.base_precision, recipe=settings.recipe)
    rate = speed.tokens_per_second(base, encoded, plans[0], len(plans))
    return MachineSpeed(tokens_per_second=rate, basis="measured on a few training steps just now")


def check_free_minutes(likely: float, most: float) -> None:
    """For a sweep without a limit of minutes: raises BudgetError where it is likely to take longer than is free."""
    if likely <= FREE_MINUTES:
        return
    told, upper = (spoken_duration(60 * minutes) for minutes in (likely, most))
    raise BudgetError(
        f"Training would take about {told} (at most {upper}) on this machine, as busy as it is now; "
        f"without being asked it may take about {spoken_duration(60 * FREE_MINUTES)}.",
        fix=f"Allow it with --budget-minutes {math.ceil(most * MEASURING_MARGIN)} "
        "(with fewer minutes fewer candidates are tried), or try fewer values, epochs or rows.",
    )


def check_dollars(found: Estimate, provider: str, base: str, budget_usd: float | None) -> float:
    """The upper end of what the service would bill for the whole sweep.

    Raises BudgetError where no budget was given. A price that nobody knows fits into no budget but an infinite one,
    and counts as nothing there.
    """
    # A service names a model with the date of its making, the price table without.
    undated = re.sub(r"-\d{4}-\d{2}-\d{2}$", "", base)
    offers = [offer for offer in found.offers if offer.service.lower() == provider and offer.model == undated]
    most = max((offer.usd.high for offer in offers), default=math.inf)
    if budget_usd is not None and (most < math.inf or budget_usd == math.inf):
        return most if most < math.inf else 0.0
    if most == math.inf:
        told = f"What training {base} on {provider} costs is not in the price table, so no budget can be kept"
        fix = "If it costs nothing, or whatever it costs is accepted, say so with --budget-usd inf."
    else:
        told = f"Training {base} on {provider} could cost ${_cents(most):,.2f}, and no budget was given"
        fix = f"Allow it with --budget-usd {_cents(most):.2f}, or try fewer values or epochs."
    raise BudgetError(f"{told}; nothing was sent.", fix=fix)


def _cents(usd: float) -> float:
    """Rounded up, so that the budget which is proposed suffices."""
    return math.ceil(usd * 100) / 100
