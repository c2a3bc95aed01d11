"""This machine as a provider: the contract over the engine."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property

from fewtune.data.chat import with_rejected
from fewtune.data.encode import Encoded
from fewtune.engine import checkpoint, memory
from fewtune.engine.base_model import BaseModel, load
from fewtune.engine.likelihood import Likelihood
from fewtune.engine.lora import Adapter
from fewtune.engine.trainer import NonFiniteLoss, Progress, train
from fewtune.engine.training import Task, Training
from fewtune.errors import DataError
from fewtune.providers import admission
from fewtune.providers.contract import (
    BASE,
    Ask,
    Capabilities,
    Checkpoint,
    Event,
    Failure,
    Finished,
    Message,
    Point,
    Reply,
    Trial,
    Validation,
    Workspace,
)
from fewtune.providers.local_answers import LocalAnswers
from fewtune.providers.local_models import LocalModels
from fewtune.providers.trial_folder import TrialFolder
from fewtune.types import Usage

SECONDS_BETWEEN_SAVES = 60.0

CAPABILITIES = Capabilities(
    can_pause=True,
    can_fork=True,
    can_branch=True,
    can_join=True,
    can_score=True,
    returns_checkpoints=True,
    returns_row_losses=True,
    bills=False,
    learning_rate="absolute",
    ranges={
        "epochs": (1, 1000),
        "batch_size": (1, 4096),
        "learning_rate": (1e-7, 1.0),
        "rank": (1, 1024),
        "gradient_accumulation": (1, 1024),
        "adapt_top": (0.01, 1.0),
        "averaged_checkpoints": (1, 1000),
    },
    can_average=True,
    can_mix=True,
    can_continue=True,
    tells_choices=True,
    constrains="schema",
)


class LocalProvider:
    """Handles are trial ids; a model name is `<trial id>@<step>`, a folder below the workspace, or the workspace's."""

    def __init__(self, workspace: Workspace, base: BaseModel | None = None) -> None:
        """A base that is in memory already need not be loaded."""
        self._workspace = workspace
        self._loaded = base
        self._kept = TrialFolder(workspace.folder)
        self._models = LocalModels(self._kept, workspace.adapters)
        self._trainings: dict[str, Training] = {}

    @property
    def capabilities(self) -> Capabilities:
        return CAPABILITIES

    @cached_property
    def base(self) -> BaseModel:
        """Loaded when first needed, then kept."""
        workspace = self._workspace
        return self._loaded or load(workspace.base, precision=workspace.precision, recipe=workspace.recipe)

    def start(self, trials: Sequence[Trial]) -> tuple[str, ...]:
        for trial in trials:
            admission.check(trial, CAPABILITIES)
        self._check_memory(trials)
        self._kept.enlist(trials)
        return tuple(trial.id for trial in trials)

    def _check_memory(self, trials: Sequence[Trial]) -> None:
        rows = dict.fromkeys(row for trial in trials for row in (*trial.train_rows, *trial.valid_rows))
        examples = [self._workspace.examples[row] for row in rows]
        memory.check(
            self._workspace.base,
            [trial.plan for trial in trials],
            examples,
            precision=self._workspace.precision,
            recipe=self._workspace.recipe,
        )

    def advance(self, targets: Mapping[str, int | None]) -> Generator[Event, None, None]:
        trainings: dict[str, Training] = {}
        for handle in targets:
            # Told again each time, so that a caller killed before it took note misses none.
            yield from self._kept.checkpoints(handle)
            if ended := self._kept.ended(handle):
                yield ended
            else:
                trainings[handle] = self._training(handle)
        with self._saved_at_the_end(trainings):
            yield from self._advance(trainings, _limits(trainings, targets))

    @contextmanager
    def _saved_at_the_end(self, trainings: Mapping[str, Training]) -> Generator[None, None, None]:
        try:
            yield
        except GeneratorExit:
            self._save(trainings)
            raise
        except BaseException:
            # A step may have been cut in half: the last saved point is the truth.
            for handle in trainings:
                del self._trainings[handle]
            raise
        self._save(trainings)

    def _save(self, trainings: Mapping[str, Training]) -> None:
        for handle, training in trainings.items():
            checkpoint.save_training(training, self._kept.path(handle))

    def _advance(self, trainings: Mapping[str, Training], limits: Mapping[str, int]) -> Iterator[Event]:
        saved = dict.fromkeys(trainings, time.monotonic())
        for progress in train(self.base, trainings, limits):
            if isinstance(progress, tuple):
                yield self._fail(*progress)
                continue
            training = trainings[progress.name]
            # The adapter is on disk before the point is told, and the point is told before the step is saved:
            # killed or closed in between, the step is done again, or its checkpoint is told again.
            ended = self._epoch_ended(training, progress.name) if progress.validation is not None else None
            yield _point(progress, training)
            if progress.sudden:
                yield Message(handle=progress.name, text=_sudden(progress))
            if ended:
                yield ended
            if progress.validation is not None or time.monotonic() - saved[progress.name] > SECONDS_BETWEEN_SAVES:
                checkpoint.save_training(training, self._kept.path(progress.name))
                saved[progress.name] = time.monotonic()
        for handle, training in trainings.items():
            if training.step == training.task.steps:
                yield self._finish(handle, training)

    def _epoch_ended(self, training: Training, handle: str) -> Checkpoint:
        folder = self._kept.adapter(handle, training.step)
        checkpoint.save_adapter(training.result, folder, self.base)
        return self._kept.checkpoint(handle, training.step, training.task.steps_per_epoch)

    def _finish(self, handle: str, training: Training) -> Finished:
        finished = Finished(handle=handle, model=f"{handle}@{training.step}", usage=_usage(training))
        self._kept.end(finished)
        return finished

    def _fail(self, handle: str, error: NonFiniteLoss) -> Failure:
        rows = ", ".join(str(self._workspace.examples[row].source) for row in error.rows)
        failure = Failure(
            handle=handle,
            code="non_finite_loss",
            text=f"The loss stopped being a number at step {error.step} (rows {rows}). A lower learning rate may help.",
            step=error.step,
        )
        self._kept.end(failure)
        return failure

    def cancel(self, handles: Sequence[str]) -> None:
        for handle in handles:
            self._trainings.pop(handle, None)
        self._kept.cancel(handles)

    def sample(self, model: str, requests: Iterable[Ask]) -> Iterator[Reply]:
        self._adapter(model)
        yield from LocalAnswers(self.base, lambda asked: self._adapter(asked or model)).replies(requests)

    def _adapter(self, model: str) -> Adapter | None:
        return None if model == BASE else self._models.adapter(model, self.base)

    def _training(self, handle: str) -> Training:
        if handle not in self._trainings:
            trial = self._kept.trial(handle)
            task = Task(
                plan=trial.plan,
                seed=trial.seed,
                train=self._encode(trial.train_rows),
                valid=self._encode(trial.valid_rows),
                rejected=self._rejected(trial.train_rows),
            )
            parent = self._adapter(trial.parent) if trial.parent and not trial.branches else None
            self._trainings[handle] = checkpoint.open_training(self.base, task, self._kept.path(handle), parent)
        return self._trainings[handle]

    def _encode(self, rows: Sequence[int]) -> tuple[Encoded, ...]:
        return tuple(self.base.encoder.example(self._workspace.examples[row]) for row in rows)

    def _rejected(self, rows: Sequence[int]) -> dict[int, Encoded]:
        """The worse answers, where every row has one: the trial then learns preferences."""
        examples = [self._workspace.examples[row] for row in rows]
        pairs = {e.row: with_rejected(e) for e in examples if e.rejected is not None}
        if pairs and len(pairs) < len(examples):
            raise DataError(f"{len(examples) - len(pairs)} of {len(examples)} rows have no rejected answer.")
        return {row: self.base.encoder.example(example) for row, example in pairs.items()}


def _limits(trainings: Mapping[str, Training], targets: Mapping[str, int | None]) -> dict[str, int]:
    ends = {handle: training.task.steps for handle, training in trainings.items()}
    asked = {handle: end if (target := targets[handle]) is None else target for handle, end in ends.items()}
    return {handle: min(end, asked[handle]) for handle, end in ends.items()}


def _point(progress: Progress, training: Training) -> Point:
    return Point(
        handle=progress.name,
        step=progress.step,
        steps=training.task.steps,
        epoch=progress.step / training.task.steps_per_epoch,
        train_loss=progress.loss,
        train_token_accuracy=progress.token_accuracy,
        learning_rate=progress.learning_rate,
        gradient_norm=progress.gradient_norm,
        usage=_usage(training),
        validation=_validation(progress.validation) if progress.validation else None,
    )


def _validation(measured: Sequence[Likelihood]) -> Validation:
    tokens = [likelihood for row in measured for likelihood in row.log_likelihoods]
    greedy = [most_likely for row in measured for most_likely in row.greedy]
    exact = tuple(all(row.greedy) for row in measured)
    return Validation(
        loss=-sum(tokens) / len(tokens),
        token_accuracy=sum(greedy) / len(greedy),
        sequence_accuracy=sum(exact) / len(exact),
        row_losses=tuple(-sum(row.log_likelihoods) / len(row.log_likelihoods) for row in measured),
        row_exact=exact,
    )


def _sudden(progress: Progress) -> str:
    return f"The loss rose to {progress.loss:.2f} at step {progress.step}, far above the steps before it."


def _usage(training: Training) -> Usage:
    return Usage(tokens=training.tokens, seconds=training.seconds, usd=0.0)
