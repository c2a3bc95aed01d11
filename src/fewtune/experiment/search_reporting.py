"""A search's outcome as a report shows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from statistics import fmean

from fewtune.experiment.afterwards_reporting import cut_afterwards
from fewtune.experiment.measuring import PlanReading, Score, trial_name
from fewtune.experiment.outcome import Outcome
from fewtune.experiment.rivals import TUNED
from fewtune.experiment.weighing import Weighed
from fewtune.report import words
from fewtune.report.evaluation_part import Interval
from fewtune.report.summary import (
    CutLine,
    FinalistLine,
    MetricValue,
    RivalLine,
    Saved,
    Search,
    TrialLine,
    WinnerLoss,
    WorthPart,
)
from fewtune.report.worth import sentence
from fewtune.search.budget import grid_epochs
from fewtune.statistics import Difference, mean_interval, wilson_interval
from fewtune.statistics import Interval as Measure
from fewtune.store.runs import TrialRecord


def search_part(outcome: Outcome, weighed: Weighed | None) -> Search:
    search = outcome.search
    return Search(
        searcher=search.searcher,
        asked=search.wanted,
        candidates=len(outcome.rounds.candidates),
        rungs=tuple(rung.epochs for rung in search.halving.rungs if rung.share == 1.0),
        folds=len(search.folds) if outcome.finals.pooled and search.folds[1:] else 0,
        seeds=search.space.seeds if outcome.finals.pooled else search.space.seeds[:1],
        finalists=tuple(
            FinalistLine(
                trial=f"{trial_name(one.finalist.candidate)}-e{one.finalist.epochs}",
                loss=fmean(one.rows),
                rows=len(one.rows),
            )
            for one in outcome.finals.pooled
        ),
        estimate=_estimate(outcome),
        cut=(*_cut(outcome), *cut_afterwards(outcome)),
        rung_share=search.rung_share if search.screening else None,
        stopped_by=("median" if search.halving.rule == "median" else "rungs") if search.stops_early else None,
        score=search.score,
        worth=_worth(weighed) if weighed else None,
    )


def saved_against_grid(outcome: Outcome) -> Saved:
    whole = grid_epochs(outcome.search.space.epochs, len(outcome.rounds.candidates))
    trained = round(outcome.epochs_trained, 3)
    return Saved(epochs=trained, grid_epochs=whole, share=1 - trained / whole)


def trial_lines(outcome: Outcome, trials: Sequence[TrialRecord]) -> tuple[TrialLine, ...]:
    free = {trial.id for trial in trials if trial.usd == 0}
    cut = {one.start.candidate for one in outcome.rounds.cut}
    fates = {number: fate.reason for number, fate in outcome.rounds.fates.items()}
    ended = {**fates, **dict.fromkeys(cut, "cut")}
    return tuple(_trial_line(one, one.trunk in free, ended.get(one.candidate)) for one in outcome.readings)


def search_sentence(outcome: Outcome, weighed: Weighed | None, saved: Saved, usd: float | None) -> str:
    """Whether to tune at all, then what was chosen, and what it took."""
    worth = f"{sentence(_worth(weighed))} " if weighed else ""
    winner, tied = outcome.winner, len(outcome.choice.selection.tied)
    plan, loss = winner.plan, winner.point.valid_loss if winner.point else None
    told = f"validation loss {loss:.3f}" if loss is not None else "validation loss not told"
    alike = f", tied with {words.counted(tied, 'other')} and the cheapest of them" if tied else ""
    return (
        f"{worth}Chosen: {words.counted(plan.epochs, 'epoch')}, batch {plan.batch_size}, rate {plan.learning_rate:g} "
        f"({told}){alike}. {words.saved(saved.epochs, saved.grid_epochs, saved.share)} Cost: {words.dollars(usd)}."
    )


def _trial_line(reading: PlanReading, free: bool, ended: str | None) -> TrialLine:
    """A trunk is billed once, so a plan read off it has a price of its own only where everything is free."""
    point = reading.point
    return TrialLine(
        id=reading.id,
        trunk=reading.trunk,
        plan=asdict(reading.plan),
        state=reading.state,
        failure=reading.failure,
        valid_loss=point.valid_loss if point else None,
        valid_token_accuracy=point.valid_token_accuracy if point else None,
        valid_sequence_accuracy=point.valid_sequence_accuracy if point else None,
        tokens=point.tokens if point else 0,
        seconds=point.seconds if point else 0.0,
        usd=0.0 if free else None,
        ended=ended,
    )


def _estimate(outcome: Outcome) -> WinnerLoss | None:
    found = outcome.choice.estimate
    if found is None or outcome.choice.by is None:
        return None
    return WinnerLoss(
        value=found.value,
        interval=_value(found.value, found.interval).interval,
        rows=len(found.rows),
        optimism=found.optimism,
        by=outcome.choice.by,
    )


def _worth(weighed: Weighed) -> WorthPart:
    found, rows, score = weighed.worth, weighed.rows or {}, weighed.score
    gains = found.gains if found else dict[str, Difference]()
    return WorthPart(
        answer=found.answer if found else "cannot be told",
        score=score,
        rows=len(rows.get(TUNED, ())),
        by=weighed.by,
        tuned=_mean(rows[TUNED], score) if found else None,
        rivals=tuple(
            RivalLine(name=name, score=_mean(rows[name], score), gain=_value(gain.value, gain.interval))
            for name, gain in gains.items()
        ),
        hardest=found.rival if found else None,
        reason=weighed.reason,
    )


def _mean(rows: Sequence[float], score: Score) -> MetricValue:
    """Of losses; of wrong answers it is the share of those that are right."""
    if score == "loss":
        return _value(fmean(rows), mean_interval(rows))
    right = len(rows) - round(sum(rows))
    return _value(right / len(rows), wilson_interval(right, len(rows)))


def _value(value: float, interval: Measure | None) -> MetricValue:
    return MetricValue(value=value, interval=Interval(low=interval.low, high=interval.high) if interval else None)


def _cut(outcome: Outcome) -> tuple[CutLine, ...]:
    begun = tuple(
        CutLine(
            trial=trial_name(one.start.candidate),
            plan=asdict(replace(outcome.rounds.candidates[one.start.candidate], epochs=one.start.epochs)),
            limit=one.limit,
        )
        for one in outcome.cut
    )
    limit = outcome.rounds.limit
    never = (CutLine(trial=None, plan=asdict(plan), limit=limit) for plan in outcome.rounds.left_out if limit)
    return (*begun, *never)
