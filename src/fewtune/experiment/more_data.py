"""Would more data help? The winner on a quarter and a half of its rows, and a power law through what it comes to."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean

from fewtune.experiment.finals import trainings
from fewtune.experiment.measuring import PlanReading
from fewtune.experiment.progress import Stage
from fewtune.experiment.rounds import as_trial
from fewtune.experiment.searching import SearchPlan
from fewtune.experiment.sweep import Sweep
from fewtune.providers.contract import Trial
from fewtune.search.budget import Cut
from fewtune.search.folds import Finalist
from fewtune.search.scaling import Outlook, Size, outlook
from fewtune.store.runs import Runs

PART = "part-"
"""How its trials are named."""
_UNKNOWN = "Whether more data would lower the loss cannot be told"


@dataclass(frozen=True, kw_only=True)
class MoreData:
    sentence: str
    outlook: Outlook | None
    """None where there is too little to fit."""
    sizes: tuple[Size, ...] = ()
    """All rows last."""
    cut: tuple[Cut, ...] = ()
    trials: tuple[Trial, ...] = ()


def look_ahead(sweep: Sweep, search: SearchPlan, winner: PlanReading) -> MoreData | None:
    """None where nobody asks; what the budget does not take is cut, and nothing is told then."""
    after = search.afterwards
    if after.too_few:
        return MoreData(sentence=f"{_UNKNOWN}: {after.too_few}.", outlook=None)
    if not after.parts:
        return None
    trials = _trials(search, winner)
    wanted = tuple(trial for drawn in trials.values() for trial in drawn)
    if {trial.id for trial in wanted} - _ended(sweep):
        text = f"Training the chosen plan on parts of the rows, {len(wanted)} times"
        sweep.watch(Stage(name="train", text=text))
    efforts = {
        trial.id: after.effort(fold)
        for share, drawn in trials.items()
        for trial, fold in zip(drawn, after.parts[share], strict=True)
    }
    cut = sweep.finish([(winner.candidate, trial) for trial in wanted], efforts)
    if cut:
        return MoreData(sentence=f"{_UNKNOWN}: the budget did not buy it.", outlook=None, cut=cut, trials=wanted)
    return _fitted(_sizes(sweep, search, winner, trials), wanted)


def _trials(search: SearchPlan, winner: PlanReading) -> dict[float, tuple[Trial, ...]]:
    after, seed = search.afterwards, search.space.seeds[0]
    return {
        share: tuple(
            as_trial(
                f"{PART}{winner.id}-{100 * share:.0f}-{draw}",
                after.part_plan(winner.plan, fold),
                seed,
                fold.train,
                fold.judge,
            )
            for draw, fold in enumerate(drawn, start=1)
        )
        for share, drawn in after.parts.items()
    }


def _ended(sweep: Sweep) -> set[str]:
    return {one.id for one in sweep.store.trials(sweep.run_id) if one.state in ("failed", "finished")}


def _sizes(
    sweep: Sweep, search: SearchPlan, winner: PlanReading, trials: dict[float, tuple[Trial, ...]]
) -> list[Size | None]:
    """None for a size of which a training failed."""
    finalist = Finalist(candidate=winner.candidate, epochs=winner.plan.epochs)
    whole = [name for (fold, _), name in trainings(search, finalist).items() if fold == 0]
    named = [(len(drawn[0].train_rows), [one.id for one in drawn]) for drawn in trials.values()]
    found = [_size(sweep.store, sweep.run_id, rows, names, None) for rows, names in named]
    # A seed was trained where there were finalists; of the winner there is always the first.
    told = [name for name in whole if name in _ended(sweep) or name == winner.trunk]
    return [*found, _size(sweep.store, sweep.run_id, len(search.afterwards.own.train), told, winner.plan.epochs)]


def _size(store: Runs, run_id: str, rows: int, trials: list[str], until: int | None) -> Size | None:
    losses = [_best(store, run_id, name, until) for name in trials]
    known = tuple(one for one in losses if one)
    return Size(rows=rows, losses=known) if len(known) == len(losses) else None


def _best(store: Runs, run_id: str, trial: str, until: int | None) -> tuple[float, ...] | None:
    """The row losses where their mean was lowest: with each number of rows a training is used at its best length."""
    found = [
        tuple(point.valid_row_losses)
        for point in store.points(run_id)
        if point.trial_id == trial and point.valid_row_losses and point.valid_loss is not None
        if until is None or point.epoch <= until
    ]
    return min(found, key=fmean, default=None)


def _fitted(sizes: list[Size | None], trials: tuple[Trial, ...]) -> MoreData:
    known = tuple(one for one in sizes if one)
    if len(known) < len(sizes):
        return MoreData(sentence=f"{_UNKNOWN}: a training on a part failed.", outlook=None, trials=trials)
    found = outlook(known)
    return MoreData(sentence=str(found), outlook=found, sizes=known, trials=trials)
