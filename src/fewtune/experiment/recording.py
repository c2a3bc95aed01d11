"""Write down what happens in a training, and tell those who watch."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from fewtune.experiment.progress import Failed, Note, Training, Watch
from fewtune.experiment.tracking import trial_ended, values
from fewtune.providers.contract import Checkpoint, Event, Failure, Finished, Message, Point, Trial
from fewtune.store.runs import CheckpointRecord, PointRecord, Runs, TrialRecord
from fewtune.trackers.contract import Track, untracked
from fewtune.types import Usage

_SECONDS_BETWEEN_WRITES = 1.0


@dataclass(kw_only=True)
class Recorder:
    """Writes a sweep's events into the store and tells watcher and trackers; what was acknowledged is on disk."""

    store: Runs
    run_id: str
    trials: Mapping[str, Trial]
    """By handle."""
    watch: Watch
    epochs_in_all: float
    """The most that the search can still take with what it has taken."""
    epochs_before: float
    """What it has taken."""
    usd_per_epoch: float | None
    track: Track = untracked
    weight: float = 1.0
    """What an epoch of these trials takes, of one of all rows."""
    competing: bool = True
    """Whether these are the candidates, on the same rows."""
    waiting: list[PointRecord] = field(default_factory=list[PointRecord])
    written_at: float = field(default_factory=time.monotonic)
    began_at: float = field(default_factory=time.monotonic)
    first: dict[str, float] = field(default_factory=dict[str, float])
    """Epochs done when a handle was first heard of this time; likewise `latest`."""
    latest: dict[str, float] = field(default_factory=dict[str, float])
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
                self.watch(Failed(trial=self.trials[event.handle].id, text=f"{event.handle}: {event.text}"))
            case Finished():
                self.flush()
                self._end(event.handle, "finished", None, event.usage)

    def flush(self) -> None:
        self.store.put_points(self.run_id, self.waiting)
        now = time.monotonic()
        self.store.add_training_seconds(self.run_id, now - self.written_at)
        self.waiting, self.written_at = [], now

    def _take_point(self, point: Point) -> None:
        record = _point_record(point, self.trials[point.handle].id)
        self.waiting.append(record)
        self.track(values(record))
        if point.validation or time.monotonic() - self.written_at > _SECONDS_BETWEEN_WRITES:
            self.flush()
        if point.validation:
            self.valid_losses[point.handle] = point.validation.loss
        self.first.setdefault(point.handle, point.epoch)
        self.latest[point.handle] = point.epoch
        self.watch(self._progress(point))

    def _take_checkpoint(self, checkpoint: Checkpoint) -> None:
        # The provider saves its place after this, and does not tell again what came before it.
        self.flush()
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
        record = trial_record(self.trials[handle], handle, state, failure, usage)
        self.store.put_trial(self.run_id, record)
        self.track(trial_ended(record))

    def _progress(self, point: Point) -> Training:
        trial, seconds = self.trials[point.handle], point.usage.seconds
        now_done = self.weight * (sum(self.latest.values()) - sum(self.first.values()))
        done, elapsed = self.epochs_before + now_done, time.monotonic() - self.began_at
        return Training(
            trial=trial.id,
            label=f"rate {trial.plan.learning_rate:g}, batch {trial.plan.batch_size}",
            epoch=point.epoch,
            epochs=trial.plan.epochs,
            loss=point.train_loss,
            valid_loss=self.valid_losses.get(point.handle),
            done=min(1.0, done / self.epochs_in_all),
            tokens_per_second=point.usage.tokens / seconds if seconds else 0.0,
            usd=None if self.usd_per_epoch is None else self.usd_per_epoch * done,
            seconds_left=elapsed / now_done * max(0.0, self.epochs_in_all - done) if now_done else None,
            competes=self.competing,
        )


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
        valid_row_exact=list(validation.row_exact) if validation and validation.row_exact else None,
    )


def _finite(value: float) -> float | None:
    """None for what is not a number: JSON has no word for it, and nothing can be chosen by it."""
    return value if math.isfinite(value) else None


def trial_record(trial: Trial, handle: str, state: str, failure: str | None, usage: Usage) -> TrialRecord:
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
