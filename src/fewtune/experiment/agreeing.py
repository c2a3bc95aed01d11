"""What a run may take: the limits that were given, and the estimate that each start is checked by."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, fields

from fewtune import providers
from fewtune.cost.estimate import SPEED_SPREAD
from fewtune.data.split import Fold
from fewtune.experiment.estimating import Estimate, check_dollars, check_free_minutes, estimate_sweep
from fewtune.experiment.preparation import Prepared
from fewtune.experiment.rows import TOKEN_MARGIN, characters
from fewtune.experiment.searching import SearchPlan
from fewtune.experiment.settings import RunSettings
from fewtune.search.budget import Budget, Cost, affordable
from fewtune.store.runs import AgreementRecord


@dataclass(frozen=True, kw_only=True)
class Agreement:
    budget: Budget
    epoch: Cost
    """The upper end of what one epoch of one candidate takes, with its validation."""


def agree(
    settings: RunSettings, prepared: Prepared, search: SearchPlan, given: Budget, stored: AgreementRecord | None
) -> Agreement:
    """The limits given now, else those given before; the estimate is made once, when the run begins.

    Raises BudgetError where a limit that has to be given is missing, or does not buy a single training.
    """
    budget = _together(given, stored)
    epoch = Cost(**stored.epoch) if stored else _epoch_cost(settings, prepared, search, budget)
    if budget.minutes is None:
        check_free_minutes(*likely_and_most(epoch, search, search.wanted))
    agreement = Agreement(budget=budget, epoch=epoch)
    affordable(budget, search.halving, search.wanted, epoch, repeats=search.repeats)
    return agreement


def likely_and_most(epoch: Cost, search: SearchPlan, candidates: int) -> tuple[float, float]:
    """Minutes that the search of so many candidates takes, as in `Offer`; `epoch` is the upper end of one epoch."""
    likely = epoch.minutes / SPEED_SPREAD * search.likely_epochs(candidates)
    return likely, epoch.minutes * search.epochs(candidates)


def whole_estimate(settings: RunSettings, prepared: Prepared, search: SearchPlan) -> Estimate:
    """Of the whole search, here and at every service, from its cheapest course to its dearest."""
    today = datetime.datetime.now(datetime.UTC).date()
    plans = search.new_searcher().ask(search.wanted)
    most, fewest = search.epochs(search.wanted), search.fewest_epochs(search.wanted)
    return estimate_sweep(prepared, plans, most, fewest, settings, today)


def _together(given: Budget, stored: AgreementRecord | None) -> Budget:
    before = stored.limits if stored else dict[str, float | None]()
    values = {one.name: getattr(given, one.name) for one in fields(given)}
    return Budget(**{name: before.get(name) if value is None else value for name, value in values.items()})


def _epoch_cost(settings: RunSettings, prepared: Prepared, search: SearchPlan, budget: Budget) -> Cost:
    found = whole_estimate(settings, prepared, search)
    usd, folds, refit = 0.0, search.folds, search.afterwards.refit
    if providers.kind(settings.provider).bills:
        # What was begun is billed to its end, so there every training is taken for as large as the refit.
        folds = (*folds, refit) if refit else folds
        usd = check_dollars(found, settings.provider, settings.base, budget.usd) / found.epochs_total
    here = found.here
    minutes = here.seconds.high / 60 / found.epochs_total if here and here.seconds else 0.0
    cost = Cost(tokens=found.tokens.train_per_epoch.high, minutes=minutes, usd=usd)
    return cost.times(_largest(prepared, folds))


def _largest(prepared: Prepared, folds: Sequence[Fold]) -> float:
    """How much more an epoch of a fold may take than one of the training rows; 1 where it takes less."""
    usual = characters(prepared.split.train)
    most = max((characters(fold.train) for fold in folds), default=0)
    return max(1.0, TOKEN_MARGIN * most / usual)
