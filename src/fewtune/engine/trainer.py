"""The training loop: many adapters, one frozen base, each with its own data order, rate, loss and optimizer."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from functools import reduce
from statistics import median
from typing import Any

import torch
from torch import Tensor

from fewtune.data.encode import Encoded
from fewtune.engine import losses
from fewtune.engine.base_model import BaseModel
from fewtune.engine.batching import pieces, within_tokens
from fewtune.engine.devices import one_core
from fewtune.engine.gradient import Adapters, Outcome, Share, gradient
from fewtune.engine.likelihood import Likelihood, measure_pass, passes
from fewtune.engine.optimizer import Update, adamw
from fewtune.engine.training import Training, side_by_side
from fewtune.schedule.rates import learning_rate

_SUDDEN = 5.0
"""A loss of more than this many times the median of the recent ones is worth a warning."""
TOKENS_PER_PASS = 16384
"""Of a pass on a GPU, which is busy long before."""
WIDEST = 512
"""Ranks side by side in one pass; the wide product of all adapters should stay thin beside the base's own."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What one optimizer step of one training showed."""

    name: str
    step: int
    """Steps done, this one included."""
    loss: float
    """Mean loss of an answer's token in the batch, in nats, before the step; of a pair, where pairs are trained on."""
    token_accuracy: float
    gradient_norm: float
    """Before clipping."""
    learning_rate: float
    sudden: bool
    """The loss is far above the recent ones."""
    validation: tuple[Likelihood, ...] | None
    """At the end of an epoch: each validation row, in the task's order."""


class NonFiniteLoss(ArithmeticError):
    """The loss or its gradient is not a number; noticed before the optimizer step, so the adapter is sound."""

    def __init__(self, step: int, rows: tuple[int, ...]) -> None:
        super().__init__(f"loss or gradient not finite at step {step}, rows {rows}")
        self.step = step
        self.rows = rows


Event = Progress | tuple[str, NonFiniteLoss]
Jobs = list[tuple[Any, ...]]
Round = Generator[Jobs, list[Any], list[Event]]
"""One step of one or several trainings: gives jobs (a function of the base, and its further arguments), is given
their results, ends with what is to be told."""


def train(base: BaseModel, trainings: Mapping[str, Training], targets: Mapping[str, int]) -> Iterator[Event]:
    """Bring each training to its target step, in turn; yields after every optimizer step.

    On a CPU each step is one training's, and the workers compute several steps at once; on a GPU a step
    is taken by as many trainings as its width allows. Either way a training's numbers are its own. One
    whose loss stops being a number leaves; the others do not notice. Between two events nothing of a
    training changes: it may be saved, or the iterator closed.
    """
    waiting = deque(name for name in trainings if trainings[name].step < targets[name])
    running: deque[_Running] = deque()

    def fill() -> None:
        while waiting and len(running) < _rounds_ahead(base):
            names = _next(base, trainings, waiting)
            running.append(_Running(base, names, _round(base, {name: trainings[name] for name in names})))

    try:
        fill()
        while running:
            # Still in line while it is worked on, so that it is cleared away too should that fail.
            finished = running[0]
            events = finished.events()
            running.popleft()
            failed = {event[0] for event in events if isinstance(event, tuple)}
            waiting.extend(n for n in finished.names if n not in failed and trainings[n].step < targets[n])
            fill()
            yield from events
    finally:
        for left in running:
            left.abandon()


def _next(base: BaseModel, trainings: Mapping[str, Training], waiting: deque[str]) -> list[str]:
    """The trainings of the next step: the first in line, and those of its shape that fit beside it."""
    rank, layer = trainings[waiting[0]].adapter.rank, trainings[waiting[0]].lowest_layer
    fitting = [n for n in waiting if (trainings[n].adapter.rank, trainings[n].lowest_layer) == (rank, layer)]
    chosen = fitting[: 1 if base.on_cpu else max(1, WIDEST // rank)]
    for name in chosen:
        waiting.remove(name)
    return chosen


def _rounds_ahead(base: BaseModel) -> int:
    """Steps handed to the workers before the oldest is done: enough that none of them waits for this thread."""
    return base.workers.count + 1 if base.on_cpu else 1


class _Running:
    """A round whose jobs are with the workers."""

    def __init__(self, base: BaseModel, names: Sequence[str], round_: Round) -> None:
        self.names = names
        self._base, self._round = base, round_
        self._futures = self._submit(next(round_))

    def events(self) -> list[Event]:
        """What the round ends with; waits for it."""
        while True:
            results = [future.result() for future in self._futures]
            try:
                with one_core():
                    self._futures = self._submit(self._round.send(results))
            except StopIteration as ended:
                return ended.value  # type: ignore[no-any-return]

    def abandon(self) -> None:
        for future in self._futures:
            future.cancel()
        wait(self._futures)

    def _submit(self, jobs: Jobs) -> list[Future[Any]]:
        return [self._base.workers.submit(*job) for job in jobs]


def _round(base: BaseModel, trainings: Mapping[str, Training]) -> Round:
    """One optimizer step: batch, loss, gradient, clip, AdamW; at the end of an epoch, validation."""
    members = list(trainings.values())
    weights, first, second = side_by_side(members)
    batches = [training.task.batch(training.step) for training in members]
    adapters = _adapters(base, members, weights)
    parts = yield [(gradient, adapters, shares) for shares in _passes(base, members, batches)]
    total = reduce(torch.add, (torch.as_tensor(part) for part, _ in parts))
    outcomes = [_joined([o for _, found in parts for o in found if o.slot == slot]) for slot in range(len(members))]
    norms: list[float] = total.norm(dim=1).tolist()
    if not all(math.isfinite(number) for number in (*norms, *(shown.objective for shown in outcomes))):
        return (yield from _broken(base, trainings, batches))
    updates = [_update(training, norm) for training, norm in zip(members, norms, strict=True)]
    adamw(weights, first, second, total, updates)
    for training, batch, shown in zip(members, batches, outcomes, strict=True):
        _count(training, batch, shown.seconds / base.workers.count)
    measured = yield from _validation(base, trainings)
    return [
        _progress(name, trainings[name], outcome, update, measured.get(name))
        for name, outcome, update in zip(trainings, outcomes, updates, strict=True)
    ]


def _broken(base: BaseModel, trainings: Mapping[str, Training], batches: Sequence[Sequence[Encoded]]) -> Round:
    """Where a number of a step is none, and nothing was updated yet: who is to be stopped.

    In a common pass the overflow of one can spoil all: alone, each shows what is its own.
    """
    if len(trainings) == 1:
        ((name, training),), (batch,) = trainings.items(), batches
        return [(name, NonFiniteLoss(training.step + 1, tuple(example.row for example in batch)))]
    events: list[Event] = []
    for name, training in trainings.items():
        events += yield from _round(base, {name: training})
    return events


def _validation(
    base: BaseModel, trainings: Mapping[str, Training]
) -> Generator[Jobs, list[Any], dict[str, tuple[Likelihood, ...]]]:
    """The validation rows of those trainings that have ended an epoch, all in the same passes."""
    ended = {name: t for name, t in trainings.items() if t.step % t.task.steps_per_epoch == 0}
    for training in ended.values():
        training.end_epoch()
    seen_through = {name: training.result for name, training in ended.items()}
    items = [(example, seen_through[name]) for name, training in ended.items() for example in training.task.valid]
    if not items:
        return dict.fromkeys(ended, ())
    parts = yield [(measure_pass, together) for together in passes(base, items)]
    found = iter(likelihood for part in parts for likelihood in part)
    return {name: tuple(next(found) for _ in training.task.valid) for name, training in ended.items()}


def _passes(
    base: BaseModel, members: Sequence[Training], batches: Sequence[Sequence[Encoded]]
) -> Iterator[list[Share]]:
    """Cut one step: on a CPU into pieces of one training's batch, on a GPU into whatever fills a pass."""
    together: list[Share] = []
    size = 0
    for slot, (training, batch) in enumerate(zip(members, batches, strict=True)):
        total = _total(training, batch)
        for piece in pieces(batch) if base.on_cpu else within_tokens(batch):
            tokens = sum(len(example.ids) for example in piece)
            if together and (base.on_cpu or size + tokens > TOKENS_PER_PASS):
                yield together
                together, size = [], 0
            together.append(_share(slot, training, piece, total))
            size += tokens
    yield together


def _total(training: Training, batch: Sequence[Encoded]) -> float:
    """What a sum over the batch is divided by: its pairs, or the weight of its targets."""
    if training.task.rejected:
        return len(batch)
    return losses.weight(batch, training.task.plan.prompt_loss_weight)


def _share(slot: int, training: Training, examples: Sequence[Encoded], total: float) -> Share:
    plan, rejected = training.task.plan, training.task.rejected
    pairs = [(example, rejected[example.row]) for example in examples] if rejected else []
    return Share(
        slot=slot,
        examples=tuple(answer for pair in pairs for answer in pair) if rejected else tuple(examples),
        total=total,
        prompt_loss_weight=plan.prompt_loss_weight,
        beta=plan.preference_beta,
        reference=tuple(training.reference[better.row] for better, _ in pairs) if rejected else None,
    )


def _adapters(base: BaseModel, members: Sequence[Training], weights: Tensor) -> Adapters:
    return Adapters(
        weights=weights.numpy() if base.on_cpu else weights,
        scales=tuple(training.adapter.scale for training in members),
        rank=members[0].adapter.rank,
        first=members[0].lowest_layer,
    )


@dataclass(frozen=True, kw_only=True)
class _Shown:
    """What a training's whole batch came to."""

    objective: float
    loss: float
    token_accuracy: float
    seconds: float


def _joined(outcomes: Sequence[Outcome]) -> _Shown:
    tokens = sum(outcome.tokens for outcome in outcomes)
    return _Shown(
        objective=sum(outcome.objective for outcome in outcomes),
        loss=sum(outcome.answer_loss for outcome in outcomes) / tokens,
        token_accuracy=sum(outcome.greedy for outcome in outcomes) / tokens,
        seconds=sum(outcome.seconds for outcome in outcomes),
    )


def _update(training: Training, norm: float) -> Update:
    plan = training.task.plan
    return Update(
        rate=learning_rate(plan, training.step, training.task.steps),
        count=training.step + 1,
        weight_decay=plan.weight_decay,
        clip=plan.clip,
        norm=norm,
    )


def _count(training: Training, batch: Sequence[Encoded], seconds: float) -> None:
    rejected = training.task.rejected
    worse = [rejected[example.row] for example in batch] if rejected else []
    training.step += 1
    training.tokens += sum(len(example.ids) for example in (*batch, *worse))
    training.seconds += seconds


def _progress(
    name: str, training: Training, shown: _Shown, update: Update, validation: tuple[Likelihood, ...] | None
) -> Progress:
    loss = shown.objective if training.task.rejected else shown.loss
    recent = training.recent_losses
    sudden = len(recent) == recent.maxlen and loss > _SUDDEN * median(recent)
    recent.append(loss)
    return Progress(
        name=name,
        step=training.step,
        loss=loss,
        token_accuracy=shown.token_accuracy,
        gradient_norm=update.norm,
        learning_rate=update.rate,
        sudden=sudden,
        validation=validation,
    )
