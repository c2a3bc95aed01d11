"""Whether the refit is to be the mean of its last epochs' adapters: asked of the folds, whose checkpoints are there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from fewtune.experiment.answering import scoring
from fewtune.experiment.finals import Pooled, trainings
from fewtune.experiment.measuring import PlanReading
from fewtune.experiment.searching import SearchPlan
from fewtune.experiment.sweep import Sweep
from fewtune.providers.contract import Score, mean_of
from fewtune.providers.refusal import answered
from fewtune.search import folds
from fewtune.search.refit import AVERAGED, keeps_average
from fewtune.types import Example

Losses = tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    checkpoints: int
    """1 where the last one is better by itself."""
    sentence: str


def average_verdict(sweep: Sweep, search: SearchPlan, winner: PlanReading, pooled: Sequence[Pooled]) -> Verdict:
    """Score every fold's rows with the last checkpoint of its training, and with the mean of the last few.

    Nothing is trained for it; both are scored in the same way, so that the comparison is paired.
    """
    known = [one for one in pooled if f"t{one.finalist.candidate}-e{one.finalist.epochs}" == winner.id]
    count, offers = min(AVERAGED, winner.plan.epochs), sweep.provider.capabilities
    if not known or not search.folds[1:]:
        return _untried("without folds there is nothing to decide it by")
    if count < 2:
        return _untried("one epoch has one checkpoint")
    if not (offers.can_average and offers.can_score):
        return _untried("the provider cannot score a mean")
    single, mean = dict[tuple[int, int], Losses](), dict[tuple[int, int], Losses]()
    for place, trial in trainings(search, known[0].finalist).items():
        models, rows = _models(sweep, trial, winner.plan.epochs, count), search.folds[place[0]].judge
        single[place] = _scored(sweep, models[-1], rows)
        mean[place] = _scored(sweep, mean_of(models), rows)
    alone, groups = folds.pooled(single)
    together, _ = folds.pooled(mean)
    return _verdict(alone, together, groups, count)


def _untried(reason: str) -> Verdict:
    return Verdict(checkpoints=1, sentence=f"The mean of its last epochs' adapters was not tried: {reason}.")


def _verdict(alone: Losses, together: Losses, groups: Sequence[int], count: int) -> Verdict:
    gain, kept = fmean(alone) - fmean(together), keeps_average(alone, together, groups)
    told = f"{abs(gain):.3f} {'lower' if gain > 0 else 'higher'} than the last one's alone"
    done = "It is" if kept else "It is not"
    return Verdict(
        checkpoints=count if kept else 1,
        sentence=f"{done} the mean of its last {count} epochs' adapters, whose loss over the rows of "
        f"{len(set(groups))} folds is {told}.",
    )


def _models(sweep: Sweep, trial: str, epochs: int, count: int) -> list[str]:
    """Those of the last epochs, oldest first."""
    found = {one.epoch: one.model for one in sweep.store.checkpoints(sweep.run_id) if one.trial_id == trial}
    return [found[epoch] for epoch in range(epochs - count + 1, epochs + 1)]


def _scored(sweep: Sweep, model: str, rows: Sequence[Example]) -> Losses:
    found: dict[int, float] = {}
    for reply in answered(sweep.provider.sample(model, [scoring(example) for example in rows])):
        sweep.interruption.check()
        if isinstance(reply, Score):
            found[reply.id] = -fmean(reply.log_likelihoods)
    return tuple(found[example.row] for example in rows)
