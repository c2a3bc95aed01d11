"""Trains nothing, at once and for free: losses by formula, answers by the most similar training prompt.

Everything follows from the trials and the rows alone, so two runs agree in every digit. A trial's `work`
grows with its steps and its learning rate; the training loss falls with it, and the validation loss turns up
again when there was too much of it, so that a sweep has an optimum and overfitting can be seen.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from itertools import islice
from statistics import fmean
from typing import Any

from fewtune.errors import BaseModelError, UsageError
from fewtune.providers import admission
from fewtune.providers.contract import (
    BASE,
    MODEL_FILE,
    Ask,
    Capabilities,
    Checkpoint,
    Event,
    Failure,
    Finished,
    Point,
    Reply,
    Request,
    Score,
    Trial,
    Validation,
    Withdrawal,
    Workspace,
    averaged,
)
from fewtune.providers.fake_answer import FakeAnswer, fraction
from fewtune.providers.refusal import unable, without_model
from fewtune.providers.states import States
from fewtune.types import Example, Plan, Usage

_CAPABILITIES = Capabilities(
    can_pause=True,
    can_fork=True,
    can_branch=False,
    can_join=True,
    can_score=True,
    returns_checkpoints=False,
    returns_row_losses=True,
    bills=False,
    learning_rate="absolute",
    ranges={"epochs": (1, 1000), "batch_size": (1, 4096)},
    can_average=True,
    can_mix=True,
    can_continue=True,
    tells_choices=True,
    constrains="object",
)
_AT_ONCE = 256
"""Answers that are written side by side, a word of each at a time."""
_MINDS = 64
_SECONDS_TO_WAIT = 0.001
"""Before an iterator that had nothing is asked again, while nothing is being written."""


class _Over:
    """What comes after the last request."""


_OVER = _Over()


@dataclass(frozen=True, kw_only=True)
class _Progress:
    """A trial and how many of its events were told; the events themselves can always be made again."""

    trial: Trial
    told: int = 0
    finished: bool = False
    cancelled: bool = False
    taught: tuple[tuple[str, str], ...] = ()
    """The training rows themselves: a trained model is asked when the data is long gone."""


class FakeProvider:
    """Handles are trial ids; a model name is `<handle>@<step>`."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._states = States(workspace.folder)
        # What a model knows never changes, and is asked for with every request.
        self._mind = lru_cache(_MINDS)(self._read_mind)

    @property
    def capabilities(self) -> Capabilities:
        return _CAPABILITIES

    def start(self, trials: Sequence[Trial]) -> tuple[str, ...]:
        for trial in trials:
            admission.check(trial, _CAPABILITIES)
            self._work_of(self._own_name(trial.parent or BASE))
        for trial in trials:
            if not self._states.known(trial.id):
                taught = tuple((row.prompt, row.completion) for row in self._examples(trial.train_rows))
                # Under its own name: another one may be gone when the model is asked.
                parent = trial.parent and self._own_name(trial.parent)
                self._save(_Progress(trial=replace(trial, parent=parent), taught=taught))
        return tuple(trial.id for trial in trials)

    def advance(self, targets: Mapping[str, int | None]) -> Generator[Event, None, None]:
        for handle, target in targets.items():
            yield from self._train(handle, target)

    def cancel(self, handles: Sequence[str]) -> None:
        for handle in handles:
            progress = self._load(handle)
            if not progress.finished:
                self._save(replace(progress, cancelled=True))

    def sample(self, model: str, requests: Iterable[Ask]) -> Iterator[Reply]:
        self._mind(self._own_name(model))
        live, writing, ended = iter(requests), dict[int, FakeAnswer](), False
        while writing or not ended:
            ended = yield from self._begin(model, live, writing)
            for answer in list(writing.values()):
                yield answer.next()
                if answer.ended:
                    del writing[answer.request.id]
            if not (writing or ended):
                time.sleep(_SECONDS_TO_WAIT)

    def _begin(self, model: str, live: Iterator[Ask], writing: dict[int, FakeAnswer]) -> Generator[Reply, None, bool]:
        """Take what is there at the moment; whether that was all there will ever be."""
        while len(writing) < _AT_ONCE:
            ask = next(live, _OVER)
            if ask is None or isinstance(ask, _Over):
                return ask is not None
            if isinstance(ask, Withdrawal):
                if withdrawn := writing.pop(ask.id, None):
                    yield withdrawn.withdraw()
            elif refused := unable(ask, _CAPABILITIES):
                yield refused
            else:
                yield from self._reply(model, ask, writing)
        return False

    def _reply(self, model: str, request: Request, writing: dict[int, FakeAnswer]) -> Iterator[Reply]:
        """Score at once, or begin to answer."""
        try:
            work, taught = self._mind(self._own_name(request.model or model))
        except (UsageError, BaseModelError) as error:
            yield without_model(request, error)
            return
        if request.score is not None:
            yield _score(request.id, request.prompt, request.score, _valid_level(work))
        else:
            writing[request.id] = FakeAnswer(request, taught or request.shots)

    def _train(self, handle: str, target: int | None) -> Iterator[Event]:
        progress = self._load(handle)
        trial = progress.trial
        if progress.cancelled:
            yield Failure(handle=handle, code="cancelled", text="Cancelled.")
            return
        try:
            for event in islice(self._events(trial), progress.told, None):
                if target is not None and event.step > target:
                    return
                progress = replace(progress, told=progress.told + 1)
                yield event
            progress = replace(progress, finished=True)
            steps = _steps_per_epoch(trial) * trial.plan.epochs
            yield Finished(handle=handle, model=f"{handle}@{steps}", usage=self._usage(trial, steps))
        finally:
            self._save(replace(progress, cancelled=self._load(handle).cancelled))

    def _events(self, trial: Trial) -> Iterator[Point | Checkpoint]:
        steps_per_epoch = _steps_per_epoch(trial)
        for step in range(1, steps_per_epoch * trial.plan.epochs + 1):
            yield self._point(trial, step)
            epoch, remaining = divmod(step, steps_per_epoch)
            if not remaining:
                yield Checkpoint(handle=trial.id, step=step, epoch=epoch, model=f"{trial.id}@{step}", folder=None)

    def _point(self, trial: Trial, step: int) -> Point:
        steps_per_epoch, work = _steps_per_epoch(trial), self._work(trial, step)
        return Point(
            handle=trial.id,
            step=step,
            steps=steps_per_epoch * trial.plan.epochs,
            epoch=step / steps_per_epoch,
            train_loss=_train_level(work),
            train_token_accuracy=math.exp(-_train_level(work)),
            learning_rate=trial.plan.learning_rate,
            usage=self._usage(trial, step),
            validation=self._validation(trial, work) if step % steps_per_epoch == 0 else None,
        )

    def _validation(self, trial: Trial, work: float) -> Validation | None:
        rows = self._examples(trial.valid_rows)
        scores = [_score(row.row, row.prompt, row.completion, _valid_level(work)) for row in rows]
        if not scores:
            return None
        tokens = [loss for score in scores for loss in score.log_likelihoods]
        greedy = [hit for score in scores for hit in score.greedy]
        exact = tuple(all(score.greedy) for score in scores)
        return Validation(
            loss=-sum(tokens) / len(tokens),
            token_accuracy=sum(greedy) / len(greedy),
            sequence_accuracy=sum(exact) / len(exact),
            row_losses=tuple(-sum(s.log_likelihoods) / len(s.log_likelihoods) for s in scores),
            row_exact=exact,
        )

    def _usage(self, trial: Trial, step: int) -> Usage:
        epoch_tokens = sum(_token_count(row.completion) for row in self._examples(trial.train_rows))
        return Usage(tokens=round(epoch_tokens * step / _steps_per_epoch(trial)))

    def _work(self, trial: Trial, step: int) -> float:
        plan = trial.plan
        luck = 0.95 + 0.1 * fraction("seed", trial.seed)
        return (
            self._work_of(self._own_name(trial.parent or BASE))
            + 20 * plan.learning_rate * math.sqrt(plan.batch_size) * step * luck
        )

    def _work_of(self, model: str) -> float:
        """Of several models together their mean."""
        if model == BASE:
            return 0.0
        return fmean(self._work(*self._checkpoint(one)) for one in averaged(model))

    def _read_mind(self, model: str) -> tuple[float, tuple[tuple[str, str], ...]]:
        return self._work_of(model), self._taught(model)

    def _own_name(self, model: str) -> str:
        """Of a model that is known by another name too."""
        folder = self._workspace.adapters.get(model)
        if folder is None:
            return model
        try:
            return (folder / MODEL_FILE).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise BaseModelError(f"The model {model!r} is damaged.", where=str(folder)) from error

    def _taught(self, model: str) -> tuple[tuple[str, str], ...]:
        if model == BASE:
            return ()
        trial, _ = self._checkpoint(averaged(model)[-1])
        return self._load(trial.id).taught

    def _checkpoint(self, model: str) -> tuple[Trial, int]:
        """The trial and step of a model name. Raises UsageError unless that checkpoint was told."""
        handle, _, step = model.rpartition("@")
        if handle and step.isdecimal() and self._states.known(handle):
            progress = self._load(handle)
            steps_per_epoch = _steps_per_epoch(progress.trial)
            epoch, remaining = divmod(int(step), steps_per_epoch)
            if epoch > 0 and remaining == 0 and progress.told >= epoch * (steps_per_epoch + 1):
                return progress.trial, int(step)
        raise UsageError(f"There is no model {model!r} here.", fix="Use `base` or the model of a checkpoint.")

    def _examples(self, rows: Iterable[int]) -> list[Example]:
        return [self._workspace.examples[row] for row in rows]

    def _load(self, handle: str) -> _Progress:
        state = self._states.load(handle)
        state["trial"] = _trial(state["trial"])
        state["taught"] = tuple((prompt, completion) for prompt, completion in state["taught"])
        return _Progress(**state)

    def _save(self, progress: _Progress) -> None:
        self._states.save(progress.trial.id, asdict(progress))


def _trial(state: dict[str, Any]) -> Trial:
    values: dict[str, Any] = {**state, "plan": Plan(**state["plan"])}
    for name in ("train_rows", "valid_rows"):
        values[name] = tuple(state[name])
    return Trial(**values)


def _steps_per_epoch(trial: Trial) -> int:
    return math.ceil(len(trial.train_rows) / trial.plan.rows_per_step)


def _train_level(work: float) -> float:
    return 0.5 + 2.5 * math.exp(-work)


def _valid_level(work: float) -> float:
    """Lowest at work = ln 50; the base, where no work was done, stands at 3 nats."""
    return _train_level(work) + 0.05 * work


def _score(request: int, prompt: str, completion: str, level: float) -> Score:
    """Texts differ in difficulty, by a fifth either way, and in which tokens are hit; both are fixed by the text."""
    loss = level * (0.8 + 0.4 * fraction(prompt, completion))
    count = _token_count(completion)
    return Score(
        id=request,
        log_likelihoods=(-loss,) * count,
        greedy=tuple(fraction(prompt, completion, index) < math.exp(-loss) for index in range(count)),
    )


def _token_count(completion: str) -> int:
    """Words, and one for the stop."""
    return len(completion.split()) + 1
