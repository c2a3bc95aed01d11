"""A run as the events that trackers are told: while it goes, and again from the store once it is over."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from fewtune.experiment.preparation import Prepared
from fewtune.experiment.progress import Note, Watch
from fewtune.experiment.settings import RunSettings
from fewtune.providers.contract import Trial
from fewtune.report.summary import Summary
from fewtune.store.runs import PointRecord, RunRecord, Runs, TrialRecord
from fewtune.trackers.contract import Began, Ended, Event, File, State, Table, Track, TrialBegan, TrialEnded, Values
from fewtune.trackers.delivery import AFTERWARDS, MEANWHILE, Patience, delivered

_CURVES = {
    "train_loss": "train/loss",
    "train_token_accuracy": "train/token_accuracy",
    "valid_loss": "valid/loss",
    "valid_token_accuracy": "valid/token_accuracy",
    "valid_sequence_accuracy": "valid/sequence_accuracy",
    "learning_rate": "optimizer/learning_rate",
    "gradient_norm": "optimizer/gradient_norm",
    "epoch": "progress/epoch",
    "tokens": "progress/tokens",
    "seconds": "progress/seconds",
}
"""Fields of a point by the names that trackers sort into sections."""
_FILES = {"train": "dataset", "valid": "dataset", "test": "dataset", "adapter": "model", "report": "report"}
"""What is kept with the run, by kind; the base is the user's already."""


def tracked(
    names: Sequence[str], record: RunRecord, settings: RunSettings, prepared: Prepared, watch: Watch
) -> AbstractContextManager[Track]:
    """A Track to the trackers of these names; what goes wrong there is a note, and nothing more."""
    return _delivered(names, record, settings, prepared, watch, MEANWHILE)


def tell_again(
    names: Sequence[str],
    record: RunRecord,
    settings: RunSettings,
    prepared: Prepared,
    watch: Watch,
    store: Runs,
    summary: Summary,
) -> None:
    """Tell a run that is over to trackers, from what is stored, and wait for them."""
    with _delivered(names, record, settings, prepared, watch, AFTERWARDS) as track:
        for event in _stored(store, record.id, summary):
            track(event)


def _delivered(
    names: Sequence[str],
    record: RunRecord,
    settings: RunSettings,
    prepared: Prepared,
    watch: Watch,
    patience: Patience,
) -> AbstractContextManager[Track]:
    began = Began(
        run=record.id,
        key=hashlib.sha256(f"{record.id} {record.created_at}".encode()).hexdigest()[:8],
        created=datetime.fromisoformat(record.created_at).timestamp(),
        folder=Path(record.folder),
        config=_config(settings, record, prepared),
    )
    return delivered(names, began, lambda text: watch(Note(text=text)), patience)


def _config(settings: RunSettings, record: RunRecord, prepared: Prepared) -> dict[str, Any]:
    split = prepared.split
    rows = {f"{part}_rows": len(getattr(split, part)) for part in ("train", "valid", "test")}
    return {**settings.to_json(), "data_sha256": record.data_sha256, **rows}


def trial_began(trial: Trial) -> TrialBegan:
    return TrialBegan(trial=trial.id, config={**asdict(trial.plan), "seed": trial.seed})


def values(point: PointRecord) -> Values:
    """A measurement that was not made, or is no number, is left out."""
    told = {name: getattr(point, field) for field, name in _CURVES.items()}
    finite = {name: float(value) for name, value in told.items() if value is not None and math.isfinite(value)}
    return Values(trial=point.trial_id, step=point.step, seconds=point.seconds, values=finite)


def trial_ended(trial: TrialRecord) -> TrialEnded:
    return TrialEnded(trial=trial.id, state="failed" if trial.state == "failed" else "finished")


def results(summary: Summary) -> Iterator[Event]:
    """Predictions, files, and what the run came to."""
    if summary.predictions:
        systems = tuple(dict.fromkeys(name for line in summary.predictions for name in line.answers))
        rows = (
            (line.source, line.prompt, line.expected, *(line.answers.get(name, "") for name in systems))
            for line in summary.predictions
        )
        yield Table(name="predictions", columns=("source", "prompt", "expected", *systems), rows=tuple(rows))
    for name, kind in _FILES.items():
        if name in summary.files:
            yield File(name=name, kind=kind, path=Path(summary.files[name]))
    yield Ended(state="finished", verdict=summary.verdict, numbers=dict(_numbers(summary)))


def ended_early(state: State) -> Ended:
    return Ended(state=state, numbers={})


def _numbers(summary: Summary) -> Iterator[tuple[str, float]]:
    for system in summary.systems:
        for metric, measured in system.metrics.items():
            yield f"test/{system.name}/{metric}", measured.value
    for difference in summary.differences:
        yield f"test/tuned-minus-{difference.against}/{difference.metric}", difference.value.value
    chosen = next((trial for trial in summary.trials if trial.id == summary.chosen), None)
    if chosen and chosen.valid_loss is not None:
        yield "chosen/valid_loss", chosen.valid_loss
        yield from ((f"chosen/{name}", value) for name, value in _plain_numbers(chosen.plan))
    yield "seconds", summary.seconds
    if summary.usd is not None:
        yield "usd", summary.usd


def _plain_numbers(plan: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name in ("epochs", "batch_size", "learning_rate", "rank"):
        if name in plan:
            yield name, float(plan[name])


def _stored(store: Runs, run_id: str, summary: Summary) -> Iterator[Event]:
    trials = {trial.id: trial for trial in store.trials(run_id)}
    for trial in trials.values():
        yield TrialBegan(trial=trial.id, config={**trial.plan, "seed": trial.seed})
    for point in store.points(run_id):
        if point.trial_id in trials:
            yield values(point)
    yield from map(trial_ended, trials.values())
    yield from results(summary)
