"""Candidates asked for, and trained from rung to rung; every decision is made anew from what the store holds."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from fewtune.errors import UnfinishedError
from fewtune.experiment.measuring import measured, screening_name, trial_name
from fewtune.experiment.preparation import Prepared
from fewtune.experiment.progress import Rung
from fewtune.experiment.recording import trial_record
from fewtune.experiment.searching import SearchPlan
from fewtune.experiment.sweep import Sweep
from fewtune.providers.contract import Trial
from fewtune.report.words import counted as counted_of
from fewtune.search.budget import Cut, affordable
from fewtune.search.halving import Decision, Fate, counted, decide
from fewtune.search.reading import Reading
from fewtune.search.tpe import STARTERS
from fewtune.store.runs import Runs
from fewtune.types import Example, Plan, Usage

_TPE_BATCH = 4
"""Candidates that TPE proposes at a time, and that are trained side by side."""
_ROUNDING = 1e-6
_PASSED = sys.float_info.max
"""The score of who was not trained to a rung because of the budget: behind all who were, and not failed."""


@dataclass(frozen=True, kw_only=True)
class Rounds:
    """What the rungs came to."""

    candidates: Mapping[int, Plan]
    readings: tuple[Reading, ...]
    """Those that a winner may be chosen by."""
    fates: Mapping[int, Fate]
    cut: tuple[Cut, ...]
    """Candidates that were begun and that the budget did not take further."""
    left_out: tuple[Plan, ...]
    """Candidates that were not begun, since the budget would not have taken them to the end."""
    limit: str | None
    """Which limit left them out."""


@dataclass(kw_only=True)
class _Budgeted:
    """The candidates that the budget did not take to a rung."""

    cut: list[Cut] = field(default_factory=list[Cut])

    readings: list[Reading] = field(default_factory=list[Reading])

    def add(self, cut: Sequence[Cut], decision: Decision) -> None:
        self.cut += cut
        self.readings += [
            Reading(candidate=one, epochs=rung.epochs, score=_PASSED, share=rung.share)
            for one, rung in ((each.start.candidate, decision.advance[each.start.candidate]) for each in cut)
        ]


def conduct(sweep: Sweep, search: SearchPlan, prepared: Prepared) -> Rounds:
    """Train the candidates, those of an earlier process first; the same store gives the same candidates again."""
    agreement = sweep.agreement
    goal = affordable(agreement.budget, search.halving, search.wanted, agreement.epoch, repeats=search.repeats)
    sweep.epochs_in_all = search.epochs(max(goal, len(_candidates(sweep.store, sweep.run_id))))
    in_batches = search.searcher == "tpe"
    if not in_batches or not _candidates(sweep.store, sweep.run_id):
        _enlist(sweep, search, prepared, goal)
    rounds = _train(sweep, search, prepared)
    while in_batches and not rounds.cut and _enlist(sweep, search, prepared, goal, rounds.readings):
        rounds = _train(sweep, search, prepared)
    asked = () if in_batches else search.new_searcher().ask(search.wanted)
    left_out = tuple(plan for plan in asked if plan not in rounds.candidates.values())
    more = agreement.epoch.times(search.epochs(len(rounds.candidates) + 1))
    return replace(rounds, left_out=left_out, limit=agreement.budget.exceeded_by(more) if left_out else None)


def as_trial(name: str, plan: Plan, seed: int, train: Iterable[Example], valid: Iterable[Example]) -> Trial:
    """The name is one of the run alone, so a provider may keep it for good."""
    return Trial(
        id=name,
        plan=plan,
        seed=seed,
        train_rows=tuple(example.row for example in train),
        valid_rows=tuple(example.row for example in valid),
    )


def _candidates(store: Runs, run_id: str) -> dict[int, Plan]:
    """In the order in which they were asked for."""
    found = {int(one.id[1:]): Plan(**one.plan) for one in store.trials(run_id) if one.id[1:].isdecimal()}
    return {number: found[number] for number in sorted(found)}


def _enlist(sweep: Sweep, search: SearchPlan, prepared: Prepared, goal: int, readings: Sequence[Reading] = ()) -> bool:
    """Ask for candidates and store them, all at once, before one is trained; whether there were any."""
    known = _candidates(sweep.store, sweep.run_id)
    count = goal - len(known)
    if search.searcher == "tpe":
        count = min(count, STARTERS - len(known) if len(known) < STARTERS else _TPE_BATCH)
    if count <= 0:
        return False
    scores = _scores(readings, search.space.epochs)
    told = [(plan, scores.get(number, math.inf)) for number, plan in known.items()]
    plans = _asked(search, told, count)
    trials = [_trial(search, prepared, number, plan) for number, plan in enumerate(plans, start=len(known) + 1)]
    sweep.store.put_trials(sweep.run_id, [trial_record(trial, trial.id, "waiting", None, Usage()) for trial in trials])
    return bool(plans)


def _asked(search: SearchPlan, told: Sequence[tuple[Plan, float]], count: int) -> Sequence[Plan]:
    """New plans; of a grid that is not taken whole, some from everywhere in it."""
    searcher = search.new_searcher(told)
    if search.searcher != "grid" or search.wanted == len(told) + count:
        return searcher.ask(count)
    fresh = searcher.ask(search.wanted - len(told))
    return [fresh[place * len(fresh) // count] for place in range(min(count, len(fresh)))]


def _scores(readings: Sequence[Reading], epochs: Sequence[int]) -> dict[int, float]:
    """What a candidate can come to: its lowest score at the lengths that are searched."""
    found: dict[int, float] = {}
    for one in readings:
        if one.epochs in epochs:
            found[one.candidate] = min(one.score, found.get(one.candidate, math.inf))
    return found


def _trial(search: SearchPlan, prepared: Prepared, number: int, plan: Plan) -> Trial:
    split = prepared.split
    return as_trial(trial_name(number), plan, search.space.seeds[0], split.train, split.valid)


def _screening(search: SearchPlan, prepared: Prepared, number: int, plan: Plan) -> Trial:
    """A training of its own, on a share of the rows: nothing of it goes into the candidate's."""
    short = replace(plan, epochs=search.halving.rungs[0].epochs)
    return as_trial(screening_name(number), short, search.space.seeds[0], search.screening, prepared.split.valid)


def _train(sweep: Sweep, search: SearchPlan, prepared: Prepared) -> Rounds:
    candidates = _candidates(sweep.store, sweep.run_id)
    budgeted, told = _Budgeted(), 0
    while True:
        readings = measured(sweep.store, sweep.run_id, candidates, search.rung_share)
        decision = decide(search.halving, candidates, [*readings, *budgeted.readings])
        if len(decision.fates) > told:
            told = len(decision.fates)
            _tell(sweep, search, decision, len(candidates))
        if decision.is_over:
            return Rounds(
                candidates=candidates,
                readings=counted(search.halving, readings),
                fates={one.candidate: one for one in decision.fates},
                cut=tuple(budgeted.cut),
                left_out=(),
                limit=None,
            )
        rung = next(iter(decision.advance.values()))
        make = _trial if rung.share == 1.0 else _screening
        trials = {number: make(search, prepared, number, candidates[number]) for number in decision.advance}
        stood = sweep.stood()
        wanted = [
            (number, trial, _target(search, rung.epochs, stood.get(trial.id, 0.0))) for number, trial in trials.items()
        ]
        admission = sweep.admit(wanted, {trial.id: rung.weight for _, trial, _ in wanted})
        budgeted.add(admission.cut, decision)
        if admission.admitted:
            in_time = sweep.train([(trials[one.candidate], one.epochs) for one in admission.admitted], rung.weight)
            if in_time and measured(sweep.store, sweep.run_id, candidates, search.rung_share) == readings:
                raise UnfinishedError(
                    "The provider stopped before the trials were measured.", fix="Run the same command again to go on."
                )


def _target(search: SearchPlan, rung: int, stood: float) -> int:
    """Where candidates can be stopped, after every epoch: they are looked at whenever one was validated, so it makes
    no difference whether a process was killed on the way to the rung."""
    return min(rung, int(stood + _ROUNDING) + 1) if search.stops_early else rung


def _tell(sweep: Sweep, search: SearchPlan, decision: Decision, count: int) -> None:
    ended = tuple(trial_name(one.candidate) for one in decision.fates)
    epochs = counted_of(max(one.epochs for one in decision.fates), "epoch")
    screened = search.screening and search.halving.rungs[1] in decision.advance.values()
    rows = f" on {100 * search.rung_share:g} % of the rows" if screened else ""
    text = f"After {epochs}{rows}, {count - len(ended)} of {count} trials go on."
    sweep.watch(Rung(text="" if decision.is_over else text, ended=ended))
