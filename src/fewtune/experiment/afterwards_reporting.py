"""What was trained after the choice, as a report shows it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from statistics import fmean

from fewtune.experiment.outcome import Outcome
from fewtune.report.summary import CutLine, Interval, MoreData, RefitLine, SizeLine
from fewtune.store.runs import TrialRecord


def refit_line(outcome: Outcome, trials: Sequence[TrialRecord]) -> RefitLine | None:
    """None where none was wanted, or the budget did not buy it."""
    if outcome.refit is None or outcome.refit.cut:
        return None
    reading, trial = outcome.refit.reading, outcome.refit.trial
    record = next(one for one in trials if one.id == trial.id)
    return RefitLine(
        id=reading.id,
        plan=asdict(reading.plan),
        state=reading.state,
        failure=reading.failure,
        rows=len(trial.train_rows),
        tokens=record.tokens,
        seconds=record.seconds,
        usd=record.usd,
        average=outcome.refit.average.sentence if outcome.refit.average else None,
    )


def more_data_part(outcome: Outcome) -> MoreData | None:
    """None where nobody asked."""
    found = outcome.more_data
    if found is None:
        return None
    told = found.outlook
    return MoreData(
        sentence=found.sentence,
        factor=told.factor if told else None,
        gain=told.gain if told else None,
        interval=Interval(low=told.interval.low, high=told.interval.high) if told else None,
        sizes=tuple(
            SizeLine(rows=one.rows, losses=tuple(fmean(losses) for losses in one.losses)) for one in found.sizes
        ),
    )


def cut_afterwards(outcome: Outcome) -> Iterator[CutLine]:
    """All parts stand or fall together, so they are one line."""
    if outcome.refit and outcome.refit.cut:
        trial = outcome.refit.trial
        yield CutLine(trial=trial.id, plan=asdict(trial.plan), limit=outcome.refit.cut[0].limit)
    if outcome.more_data and outcome.more_data.cut:
        for trial in outcome.more_data.trials:
            yield CutLine(trial=trial.id, plan=asdict(trial.plan), limit=outcome.more_data.cut[0].limit)
