"""The best two candidates once more, on other folds and seeds: more trials of the same sweep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fewtune.experiment.measuring import rows_at, trial_name
from fewtune.experiment.rounds import Rounds, as_trial
from fewtune.experiment.searching import SearchPlan
from fewtune.experiment.sweep import Sweep
from fewtune.providers.contract import Trial
from fewtune.search.budget import Cut
from fewtune.search.folds import Finalist, Repeat, finalists, pooled, repeats

Scores = dict[tuple[int, int], tuple[float, ...]]
"""Row losses by fold and place of the seed."""


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """What a finalist scored on all folds, row by row; a row's value is the mean over its seeds."""

    finalist: Finalist
    rows: tuple[float, ...]
    groups: tuple[int, ...]
    """The fold of each row."""


@dataclass(frozen=True, kw_only=True)
class Finals:
    pooled: tuple[Pooled, ...]
    """Empty where there was nothing to repeat, or the budget did not take it."""
    cut: tuple[Cut, ...]


def contest(sweep: Sweep, search: SearchPlan, rounds: Rounds) -> Finals:
    """Train the finalists on every fold with every seed; with one finalist there is nothing to decide."""
    chosen = finalists(rounds.readings, search.space.epochs)
    if len(chosen) < 2 or not search.repeats:
        return Finals(pooled=(), cut=())
    wanted = repeats(chosen, folds=len(search.folds), seeds=search.space.seeds)
    trials = {_name(search, one): _trial(search, rounds, one) for one in wanted}
    in_time = False
    while not in_time:
        ended = {one.id for one in sweep.store.trials(sweep.run_id) if one.state in ("failed", "finished")}
        missing = [
            (one.candidate, trials[name], one.epochs) for one in wanted if (name := _name(search, one)) not in ended
        ]
        admission = sweep.admit(missing)
        if admission.cut:
            return Finals(pooled=(), cut=admission.cut)
        in_time = not missing or sweep.train([(trial, epochs) for _, trial, epochs in missing])
    return Finals(pooled=_pooled(sweep, search, chosen, wanted), cut=())


def _name(search: SearchPlan, one: Repeat) -> str:
    """A finalist may come to another length when a sweep is extended: that is another training."""
    place = search.space.seeds.index(one.seed)
    return f"{trial_name(one.candidate)}-e{one.epochs}-f{one.fold + 1}-s{place + 1}"


def _trial(search: SearchPlan, rounds: Rounds, one: Repeat) -> Trial:
    plan = replace(rounds.candidates[one.candidate], epochs=one.epochs)
    fold = search.folds[one.fold]
    return as_trial(_name(search, one), plan, one.seed, fold.train, fold.judge)


def _pooled(
    sweep: Sweep, search: SearchPlan, chosen: Sequence[Finalist], wanted: Sequence[Repeat]
) -> tuple[Pooled, ...]:
    """A finalist that failed on a fold takes no part any more."""
    found: list[Pooled] = []
    for finalist in chosen:
        own = [one for one in wanted if one.candidate == finalist.candidate]
        scores = {**_of_the_rungs(sweep, finalist), **_scores(sweep, search, own)}
        if len(scores) == len(own) + 1:
            rows, groups = pooled(scores)
            found.append(Pooled(finalist=finalist, rows=rows, groups=groups))
    return tuple(found)


def _scores(sweep: Sweep, search: SearchPlan, own: Sequence[Repeat]) -> Scores:
    """Of those that were measured."""
    found = {
        (one.fold, search.space.seeds.index(one.seed)): _rows(sweep, _name(search, one), one.epochs) for one in own
    }
    return {place: rows for place, rows in found.items() if rows is not None}


def _of_the_rungs(sweep: Sweep, finalist: Finalist) -> Scores:
    rows = _rows(sweep, trial_name(finalist.candidate), finalist.epochs)
    return {} if rows is None else {(0, 0): rows}


def _rows(sweep: Sweep, trial: str, epochs: int) -> tuple[float, ...] | None:
    return rows_at(sweep.store, sweep.run_id, trial, epochs)
