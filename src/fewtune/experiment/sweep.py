"""Train trunks through a provider, write down what happens, and read each plan off where it ends."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from fewtune.data.split import Split
from fewtune.experiment.progress import Note, Training, Watch
from fewtune.providers.contract import (
    Checkpoint,
    Event,
    Failure,
    Finished,
    Message,
    Point,
    Provider,
    Trial,
)
from fewtune.schedule.branches import Trunk
from fewtune.store.runs import CheckpointRecord, PointRecord, Runs, TrialRecord
from fewtune.types import Plan, Usage

_SECONDS_BETWEEN_WRITES = 1.0


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One plan, as its trunk stood when the plan's last epoch was done."""

    id: str
    trunk: str
    plan: Plan
    model: str | None
    """Name to sample from; None where the trial failed before, or the service kept no checkpoint."""
    folder: str | None
    failure: str | None
    point: PointRecord | None

    @property
    def state(self) -> str:
        if self.model:
            return "finished"
        return "failed" if self.failure else "unfinished"


@dataclass(kw_only=True)
class Recorder:
    """Writes a sweep's events into the store and tells the watcher; what was acknowledged is on disk."""

    store: Runs
    run_id: str
    trials: Mapping[str, Trial]
    """By handle."""
    watch: Watch
    waiting: list[PointRecord] = field(default_factory=list[PointRecord])
    written_at: float = 0.0
    began_at: float = field(default_factory=time.monotonic)
    steps_done: dict[str, float] = field(default_factory=dict[str, float])
    """Epochs done, by handle."""
    epochs_at_start: float | None = None
    valid_losses: dict[str, float] = field(default_factory=dict[str, float])

    def take(self, event: Event) -> None:
        match event:
            case Point():
                self._take_point(event)
            case Checkpoint():
                self._take_checkpoint(event)
            case Message():
                self.watch(Note(text=event.text))
            case Failure():
                self.flush()
                self._end(event.handle, "failed", event.text)
                self.watch(Note(text=f"{event.handle}: {event.text}"))
            case Finished():
                self.flush()
                self._end(event.handle, "finished", None, event.usage)

    def flush(self) -> None:
        self.store.put_points(self.run_id, self.waiting)
        self.waiting, self.written_at = [], time.monotonic()

    def _take_point(self, point: Point) -> None:
        self.waiting.append(_point_record(point, self.trials[point.handle].id))
        if point.validation or time.monotonic() - self.written_at > _SECONDS_BETWEEN_WRITES:
            self.flush()
        if point.validation:
            self.valid_losses[point.handle] = point.validation.loss
        self.steps_done[point.handle] = point.epoch
        self.watch(self._progress(point))

    def _take_checkpoint(self, checkpoint: Checkpoint) -> None:
        record = CheckpointRecord(
            trial_id=self.trials[checkpoint.handle].id,
            epoch=checkpoint.epoch,
            step=checkpoint.step,
            model=checkpoint.model,
            folder=str(checkpoint.folder) if checkpoint.folder else None,
        )
        self.store.put_checkpoint(self.run_id, record)

    def _end(self, handle: str, state: str, failure: str | None, usage: Usage | None = None) -> None:
        usage = usage or Usage()
        trial = self.trials[handle]
        self.steps_done[handle] = trial.plan.epochs
        self.store.put_trial(self.run_id, _trial_record(trial, handle, state, failure, usage))

    def _progress(self, point: Point) -> Training:
        trial, elapsed = self.trials[point.handle], time.monotonic() - self.began_at
        all_epochs = sum(one.plan.epochs for one in self.trials.values())
        done = sum(self.steps_done.values())
        if self.epochs_at_start is None:
            self.epochs_at_start = done
        now_done = done - self.epochs_at_start
        left = elapsed / now_done * (all_epochs - done) if now_done else None
        seconds = point.usage.seconds
        return Training(
            trial=trial.id,
            label=f"rate {trial.plan.learning_rate:g}, batch {trial.plan.batch_size}",
            epoch=point.epoch,
            epochs=trial.plan.epochs,
            loss=point.train_loss,
            valid_loss=self.valid_losses.get(point.handle),
            done=done / all_epochs,
            tokens_per_second=point.usage.tokens / seconds if seconds else 0.0,
            seconds_left=left,
        )


def as_trials(trunks: Sequence[Trunk], split: Split, seed: int) -> dict[str, Trial]:
    """One trial a trunk, by id; the id is a name of the run alone, so a provider may keep it for good."""
    train = tuple(example.row for example in split.train)
    valid = tuple(example.row for example in split.valid)
    trials = [
        Trial(id=f"t{number}", plan=trunk.plan, seed=seed, train_rows=train, valid_rows=valid)
        for number, trunk in enumerate(trunks, start=1)
    ]
    return {trial.id: trial for trial in trials}


def train(
    provider: Provider, trials: Mapping[str, Trial], store: Runs, run_id: str, watch: Watch
) -> Generator[Event, None, None]:
    """Train every trial to its end, recording each event before it is passed on.

    Closing the iterator pauses the provider; what was passed on is in the store.
    """
    handles = provider.start(tuple(trials.values()))
    by_handle = dict(zip(handles, trials.values(), strict=True))
    recorder = Recorder(store=store, run_id=run_id, trials=by_handle, watch=watch)
    ended = {record.id: record.state for record in store.trials(run_id) if record.state != "running"}
    for handle, trial in by_handle.items():
        if trial.id not in ended:
            store.put_trial(run_id, _trial_record(trial, handle, "running", None, Usage()))
    events = provider.advance(dict.fromkeys(handles))
    try:
        for event in events:
            recorder.take(event)
            yield event
    finally:
        recorder.flush()
        events.close()


def read_off(trunks: Sequence[Trunk], store: Runs, run_id: str) -> tuple[Reading, ...]:
    """Every plan with its measured validation and its model, from what the store holds."""
    failures = {trial.id: trial.failure for trial in store.trials(run_id)}
    checkpoints = {(one.trial_id, one.epoch): one for one in store.checkpoints(run_id)}
    points = store.points(run_id)
    readings: list[Reading] = []
    for number, trunk in enumerate(trunks, start=1):
        name = f"t{number}"
        for plan in trunk.members:
            checkpoint = checkpoints.get((name, plan.epochs))
            readings.append(
                Reading(
                    id=f"{name}-e{plan.epochs}",
                    trunk=name,
                    plan=plan,
                    model=checkpoint.model if checkpoint else None,
                    folder=checkpoint.folder if checkpoint else None,
                    failure=failures.get(name),
                    point=_validated(points, checkpoint) if checkpoint else None,
                )
            )
    return tuple(readings)


def _validated(points: Sequence[PointRecord], checkpoint: CheckpointRecord) -> PointRecord | None:
    """The last measured validation up to the checkpoint; a service may measure a step or two before it."""
    before = (p for p in points if p.trial_id == checkpoint.trial_id and p.step <= checkpoint.step)
    return max((p for p in before if p.valid_loss is not None), key=lambda p: p.step, default=None)


def _point_record(point: Point, trial_id: str) -> PointRecord:
    validation = point.validation
    return PointRecord(
        trial_id=trial_id,
        step=point.step,
        epoch=point.epoch,
        train_loss=point.train_loss,
        train_token_accuracy=point.train_token_accuracy,
        learning_rate=point.learning_rate,
        gradient_norm=point.gradient_norm,
        tokens=point.usage.tokens,
        seconds=point.usage.seconds,
        valid_loss=_finite(validation.loss) if validation else None,
        valid_token_accuracy=_finite(validation.token_accuracy) if validation else None,
        valid_sequence_accuracy=validation.sequence_accuracy if validation else None,
        valid_row_losses=list(validation.row_losses) if validation and validation.row_losses else None,
    )


def _finite(value: float) -> float | None:
    """None for what is not a number: JSON has no word for it, and nothing can be chosen by it."""
    return value if math.isfinite(value) else None


def _trial_record(trial: Trial, handle: str, state: str, failure: str | None, usage: Usage) -> TrialRecord:
    return TrialRecord(
        id=trial.id,
        plan=asdict(trial.plan),
        seed=trial.seed,
        handle=handle,
        state=state,
        failure=failure,
        tokens=usage.tokens,
        seconds=usage.seconds,
        usd=usage.usd,
    )
