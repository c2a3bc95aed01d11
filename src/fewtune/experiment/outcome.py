"""What a search came to: rungs, then folds, then the choice, and what is trained after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fewtune.experiment.choosing import Choice, choose
from fewtune.experiment.finals import Finals, contest
from fewtune.experiment.measuring import PlanReading, is_screening, plan_readings
from fewtune.experiment.more_data import PART, MoreData, look_ahead
from fewtune.experiment.preparation import Prepared
from fewtune.experiment.refitting import REFIT, Refit, refit
from fewtune.experiment.rounds import Rounds, conduct
from fewtune.experiment.searching import SearchPlan
from fewtune.experiment.sweep import Sweep
from fewtune.search.budget import Cut


@dataclass(frozen=True, kw_only=True)
class Outcome:
    search: SearchPlan
    rounds: Rounds
    finals: Finals
    readings: tuple[PlanReading, ...]
    choice: Choice
    epochs_trained: float
    """By all trials of the search together, those on folds too, in epochs of all training rows; what came after the
    choice is not among them."""
    refit: Refit | None
    more_data: MoreData | None

    @property
    def winner(self) -> PlanReading:
        return next(one for one in self.readings if one.id == self.choice.selection.chosen)

    @property
    def kept(self) -> PlanReading:
        """The model that is handed over: the refit where there is one."""
        return self.refit.reading if self.refit and self.refit.reading.model else self.winner

    @property
    def cut(self) -> Sequence[Cut]:
        return (*self.rounds.cut, *self.finals.cut)


def search_through(sweep: Sweep, search: SearchPlan, prepared: Prepared) -> Outcome:
    """Raises TrainingError where no training came to a finite loss."""
    rounds = conduct(sweep, search, prepared)
    finals = contest(sweep, search, rounds)
    readings = plan_readings(sweep.store, sweep.run_id, rounds.candidates, search.space.epochs, rounds.readings)
    choice = choose(readings, finals.pooled, search.seed)
    winner = next(one for one in readings if one.id == choice.selection.chosen)
    searched = {name: epochs for name, epochs in sweep.stood().items() if not name.startswith((REFIT, PART))}
    return Outcome(
        search=search,
        rounds=rounds,
        finals=finals,
        readings=readings,
        choice=choice,
        epochs_trained=sum(
            epochs * (search.rung_share if is_screening(name) else 1.0) for name, epochs in searched.items()
        ),
        refit=refit(sweep, search, winner, finals.pooled),
        more_data=look_ahead(sweep, search, winner),
    )
