"""The best two candidates once more, on other folds and seeds: more trials of the same sweep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fewtune.experiment.measuring import point_at, trial_name, wrong_rows
from fewtune.experiment.rounds import Rounds, as_trial
from fewtune.experiment.searching import SearchPlan
from fewtune.experiment.sweep import Sweep
from fewtune.providers.contract import Trial
from fewtune.search.budget import Cut
from fewtune.search.folds import Finalist, Repeat, finalists, pooled, repeats
from fewtune.store.runs import PointRecord

Scores = dict[tuple[int, int], PointRecord]
"""Validations with row losses, by fold and place of the seed."""


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """What a finalist scored on all folds, row by row; a row's value is the mean over its seeds."""

    finalist: Finalist
    rows: tuple[float, ...]
    """Losses."""
    wrong: tuple[float, ...] | None
    """1 where the row was not answered exactly, 0 where it was; None where that is not told."""
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
    return repeat_name(one.candidate, one.epochs, one.fold, search.space.seeds.index(one.seed))


def repeat_name(candidate: int, epochs: int, fold: int, place: int) -> str:
    """Of the training on a fold with the seed at that place; the rungs' own is the candidate's.

    A finalist may come to another length when a sweep is extended: that is another training.
    """
    first = (fold, place) == (0, 0)
    return trial_name(candidate) if first else f"{trial_name(candidate)}-e{epochs}-f{fold + 1}-s{place + 1}"


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
            found.append(_together(finalist, scores))
    return tuple(found)


def _together(finalist: Finalist, scores: Scores) -> Pooled:
    rows, groups = pooled({place: point.valid_row_losses or () for place, point in scores.items()})
    wrong = {place: found for place, point in scores.items() if (found := wrong_rows(point))}
    exact = pooled(wrong)[0] if len(wrong) == len(scores) else None
    return Pooled(finalist=finalist, rows=rows, wrong=exact, groups=groups)


def _scores(sweep: Sweep, search: SearchPlan, own: Sequence[Repeat]) -> Scores:
    """Of those that were measured."""
    found = {
        (one.fold, search.space.seeds.index(one.seed)): _point(sweep, _name(search, one), one.epochs) for one in own
    }
    return {place: point for place, point in found.items() if point is not None}


def _of_the_rungs(sweep: Sweep, finalist: Finalist) -> Scores:
    point = _point(sweep, trial_name(finalist.candidate), finalist.epochs)
    return {} if point is None else {(0, 0): point}


def _point(sweep: Sweep, trial: str, epochs: int) -> PointRecord | None:
    point = point_at(sweep.store, sweep.run_id, trial, epochs)
    return point if point and point.valid_row_losses else None
