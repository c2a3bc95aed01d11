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
    cut = sweep.finish([(one.candidate, _trial(search, rounds, one)) for one in wanted])
    return Finals(pooled=() if cut else _pooled(sweep, search, chosen), cut=cut)


def trainings(search: SearchPlan, finalist: Finalist) -> dict[tuple[int, int], str]:
    """The trials that train a finalist, by fold and place of the seed; the first is the candidate of the rungs."""
    again = repeats([finalist], folds=len(search.folds), seeds=search.space.seeds)
    named = {(one.fold, search.space.seeds.index(one.seed)): _name(search, one) for one in again}
    return {(0, 0): trial_name(finalist.candidate), **named}


def _name(search: SearchPlan, one: Repeat) -> str:
    """A finalist may come to another length when a sweep is extended: that is another training."""
    place = search.space.seeds.index(one.seed)
    return f"{trial_name(one.candidate)}-e{one.epochs}-f{one.fold + 1}-s{place + 1}"


def _trial(search: SearchPlan, rounds: Rounds, one: Repeat) -> Trial:
    plan = replace(rounds.candidates[one.candidate], epochs=one.epochs)
    fold = search.folds[one.fold]
    return as_trial(_name(search, one), plan, one.seed, fold.train, fold.judge)


def _pooled(sweep: Sweep, search: SearchPlan, chosen: Sequence[Finalist]) -> tuple[Pooled, ...]:
    """A finalist that failed on a fold takes no part any more."""
    found: list[Pooled] = []
    for finalist in chosen:
        scores = {
            place: rows_at(sweep.store, sweep.run_id, name, finalist.epochs)
            for place, name in trainings(search, finalist).items()
        }
        measured = {place: rows for place, rows in scores.items() if rows is not None}
        if len(measured) == len(scores):
            rows, groups = pooled(measured)
            found.append(Pooled(finalist=finalist, rows=rows, groups=groups))
    return tuple(found)
