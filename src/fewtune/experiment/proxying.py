"""A search on a cheap base whose best plans are then trained on the run's own base, under one budget."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fewtune import providers
from fewtune.bases.folder import open_encoder, width
from fewtune.data.encode import Encoder
from fewtune.data.split import Split
from fewtune.errors import BudgetError, DataError, UsageError
from fewtune.experiment.agreeing import Agreement, agree, likely_and_most
from fewtune.experiment.estimating import check_free_minutes
from fewtune.experiment.measuring import PlanReading
from fewtune.experiment.outcome import Outcome
from fewtune.experiment.preparation import Prepared
from fewtune.experiment.searching import SearchPlan, search_plan, to_the_end
from fewtune.experiment.settings import RunSettings
from fewtune.search.budget import Budget, Cost, affordable, halving_epochs, sufficient, upwards
from fewtune.search.proxy import Translated, translate
from fewtune.store.runs import AgreementRecord
from fewtune.types import Example, Plan

FOLDER = "search-on"
"""Below the run's folder: where the cheap base trains."""


@dataclass(frozen=True, kw_only=True)
class Proxy:
    """The search on the cheap base."""

    settings: RunSettings
    prepared: Prepared
    """The run's own rows and parts, so that no row that judges the run has chosen its plans."""
    search: SearchPlan


@dataclass(frozen=True, kw_only=True)
class Ahead:
    """What comes before the run's own search."""

    proxy: Proxy
    agreement: Agreement


def trials_key(run_id: str) -> str:
    """Under which the store has the trials of the cheap base."""
    return f"{run_id}/{FOLDER}"


def proxy_of(settings: RunSettings, prepared: Prepared) -> Proxy | None:
    """None where the run searches on its own base. Raises UsageError for a cheap base that is the run's own."""
    cheap = settings.search_on
    if cheap is None:
        return None
    if cheap == settings.base and providers.kind(settings.provider).local_base:
        raise UsageError(f"--search-on names the base itself, {cheap}.", fix="Leave it out, or name a cheaper base.")
    providers.check_access("local")
    encoder = open_encoder(cheap, None)
    own = replace(
        settings,
        base=cheap,
        provider="local",
        four_bit=False,
        recipe=None,
        search_on=None,
        evaluate=False,
        refit=False,
        average_refit=False,
        more_data=False,
    )
    readable = replace(prepared, encoder=encoder, base=cheap, split=_readable(prepared.split, encoder, cheap))
    return Proxy(settings=own, prepared=readable, search=search_plan(own, readable))


def share(proxy: Proxy, own: SearchPlan, agreement: Agreement, stored: AgreementRecord | None) -> Agreement:
    """What the search on the cheap base may take: what the budget holds beside training its plans on the run's own.

    Raises BudgetError where it does not hold one training of each, or where both together need asking first.
    """
    budget, epoch = agreement.budget, agreement.epoch
    count = affordable(budget, own.halving, own.wanted, epoch)
    kept = epoch.times(halving_epochs(own.halving, count))
    free = agree(proxy.settings, proxy.prepared, proxy.search, Budget(minutes=math.inf), stored)
    if budget.minutes is None:
        both = (likely_and_most(epoch, own, count), likely_and_most(free.epoch, proxy.search, proxy.search.wanted))
        check_free_minutes(*map(sum, zip(*both, strict=True)))
    least = kept + free.epoch.times(halving_epochs(proxy.search.halving, 1))
    if limit := budget.exceeded_by(least):
        needed = getattr(least, limit)
        raise BudgetError(
            f"--budget-{limit} {budget.limits()[limit]:g} does not buy one training on {proxy.settings.base} and then "
            f"one of its plans, which take up to {upwards(needed)}.",
            fix=f"Allow it with --budget-{limit} {sufficient(limit, needed)}, or try fewer epochs or rows.",
        )
    return Agreement(budget=without(budget, kept), epoch=free.epoch)


def without(budget: Budget, cost: Cost) -> Budget:
    """What is left of it."""
    return Budget(**{name: max(limit - getattr(cost, name), 1e-9) for name, limit in budget.limits().items()})


def translated(settings: RunSettings, outcome: Outcome, most: int) -> tuple[tuple[PlanReading, Translated], ...]:
    """The chosen plan and the next best one of another candidate, for the run's own base."""
    own = width(settings.base) if providers.kind(settings.provider).local_base else None
    cheap = width(outcome.winner.plan.base)
    return tuple(
        (one, translate(one.plan, base=settings.base, from_width=cheap, to_width=own)) for one in _best(outcome)[:most]
    )


def given(own: SearchPlan, sent: Sequence[Plan], known: Sequence[Plan]) -> SearchPlan:
    """The run's own search, now that its plans are known; those that it was given before stay in it.

    All are trained to the greatest length among them, and read off at the shorter ones that were asked for, since a
    larger base may need fewer epochs.
    """
    last = max(plan.epochs for plan in (*sent, *known))
    plans = dict.fromkeys((*known, *(replace(plan, epochs=last) for plan in sent)))
    lengths = tuple(length for length in own.space.epochs if length <= last)
    return replace(
        own,
        space=replace(own.space, epochs=lengths),
        wanted=len(plans),
        halving=to_the_end(last),
        plans=tuple(plans),
    )


def _best(outcome: Outcome) -> Sequence[PlanReading]:
    """The best plan of each candidate: the chosen one, those tied with it, then by what was measured."""
    selection = outcome.choice.selection
    first = (selection.chosen, *selection.tied)

    def place(one: PlanReading) -> tuple[int, float]:
        loss = one.point.valid_loss if one.point else None
        return first.index(one.id) if one.id in first else len(first), math.inf if loss is None else loss

    measured = [one for one in outcome.readings if one.model and one.point and one.point.valid_loss is not None]
    found: dict[int, PlanReading] = {}
    for one in sorted(measured, key=place):
        found.setdefault(one.candidate, one)
    return list(found.values())


def _readable(split: Split, encoder: Encoder, base: str) -> Split:
    """Without the rows that are too long for the cheap base."""

    def fitting(rows: Sequence[Example]) -> tuple[Example, ...]:
        return tuple(row for row in rows if len(encoder.whole(row).ids) <= encoder.context)

    found = Split(train=fitting(split.train), valid=fitting(split.valid), test=split.test)
    if not found.train or not found.valid:
        raise DataError(
            f"The rows are too long for {base}, which reads {encoder.context} tokens.",
            fix="Search on a base with a longer context, or leave out --search-on.",
        )
    return found
