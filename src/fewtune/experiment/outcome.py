"""What a search came to: rungs, then folds, then the choice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fewtune.experiment.choosing import Choice, choose
from fewtune.experiment.finals import Finals, contest
from fewtune.experiment.measuring import PlanReading, plan_readings
from fewtune.experiment.preparation import Prepared
from fewtune.experiment.rounds import Rounds, conduct
from fewtune.experiment.searching import SearchPlan
from fewtune.experiment.sweep import Sweep
from fewtune.search.budget import Cost, Cut
from fewtune.search.proxy import Translated


@dataclass(frozen=True, kw_only=True)
class Outcome:
    search: SearchPlan
    rounds: Rounds
    finals: Finals
    readings: tuple[PlanReading, ...]
    choice: Choice
    epochs_trained: float
    """By all trials together, those on folds too."""
    proxied: Proxied | None = None
    """Where the plans come from, if a cheap base has found them."""

    @property
    def winner(self) -> PlanReading:
        return next(one for one in self.readings if one.id == self.choice.selection.chosen)

    @property
    def cut(self) -> Sequence[Cut]:
        return (*self.rounds.cut, *self.finals.cut)


@dataclass(frozen=True, kw_only=True)
class Proxied:
    """A search on a cheap base, and the plans that it sent to the run's own."""

    outcome: Outcome
    run_id: str
    """Under which the store has its trials."""
    sent: tuple[tuple[PlanReading, Translated], ...]
    """The chosen plan first, each with what became of it."""
    spent: Cost


def search_through(sweep: Sweep, search: SearchPlan, prepared: Prepared) -> Outcome:
    """Raises TrainingError where no training came to a finite loss."""
    rounds = conduct(sweep, search, prepared)
    finals = contest(sweep, search, rounds)
    readings = plan_readings(sweep.store, sweep.run_id, rounds.candidates, search.space.epochs, rounds.readings)
    return Outcome(
        search=search,
        rounds=rounds,
        finals=finals,
        readings=readings,
        choice=choose(readings, finals.pooled, search.seed, search.score),
        epochs_trained=sum(sweep.stood().values()),
    )
