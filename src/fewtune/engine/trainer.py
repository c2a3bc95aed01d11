"""The training loop: several adapters, one frozen base, each with its own data order, rate and optimizer."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from fewtune.data.encode import Encoded
from fewtune.engine.base_model import BaseModel
from fewtune.engine.batching import pack
from fewtune.engine.likelihood import Likelihood, measure, token_losses
from fewtune.engine.lora import Adapter, attach, create, in_use
from fewtune.schedule.order import batch_at, steps_per_epoch
from fewtune.schedule.rates import learning_rate
from fewtune.types import Plan

BETAS = (0.9, 0.999)
EPSILON = 1e-8


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is to be trained, on what."""

    plan: Plan
    seed: int
    train: tuple[Encoded, ...]
    valid: tuple[Encoded, ...]

    @property
    def steps_per_epoch(self) -> int:
        return steps_per_epoch(len(self.train), self.plan.batch_size)

    @property
    def steps(self) -> int:
        return self.steps_per_epoch * self.plan.epochs


@dataclass(kw_only=True)
class Training:
    """A task on its way: all that changes while it trains, and all that a checkpoint must keep."""

    task: Task
    adapter: Adapter
    first_moment: Tensor
    """(N,) AdamW's running mean of the gradient."""
    second_moment: Tensor
    """(N,) and of its square."""
    step: int = 0
    tokens: int = 0
    """Tokens read so far, padding not among them."""
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What one optimizer step of one training showed."""

    name: str
    step: int
    """Steps done, this one included."""
    loss: float
    """Mean loss of a trained token in the batch, in nats, before the step."""
    token_accuracy: float
    gradient_norm: float
    """Before clipping."""
    learning_rate: float
    validation: tuple[Likelihood, ...] | None
    """At the end of an epoch: each validation row, in the task's order."""


class NonFiniteLoss(ArithmeticError):
    """The loss or its gradient is not a number; raised before the optimizer step, so the adapter is sound."""

    def __init__(self, step: int, rows: tuple[int, ...]) -> None:
        super().__init__(f"loss or gradient not finite at step {step}, rows {rows}")
        self.step = step
        self.rows = rows


def begin(base: BaseModel, task: Task, adapter: Adapter | None = None) -> Training:
    """A training at step 0, from a new adapter or from a given one."""
    plan = task.plan
    if adapter is None:
        adapter = create(attach(base), plan.rank, plan.alpha, task.seed, base.device)
    moments = torch.zeros_like(adapter.flat)
    return Training(task=task, adapter=adapter, first_moment=moments, second_moment=moments.clone())


def train(
    base: BaseModel, trainings: Mapping[str, Training], targets: Mapping[str, int]
) -> Iterator[Progress | tuple[str, NonFiniteLoss]]:
    """Bring each training to its target step, one step of each in turn.

    A training whose loss stops being a number leaves the round; the others do not notice.
    """
    active = [name for name in trainings if trainings[name].step < targets[name]]
    while active:
        for name in tuple(active):
            training = trainings[name]
            try:
                yield step(base, name, training)
            except NonFiniteLoss as error:
                active.remove(name)
                yield name, error
                continue
            if training.step >= targets[name]:
                active.remove(name)


def step(base: BaseModel, name: str, training: Training) -> Progress:
    """One optimizer step: batch, loss, gradient, clip, AdamW; at the end of an epoch, validation."""
    task, plan, started = training.task, training.task.plan, time.perf_counter()
    batch = batch_at(task.train, plan.batch_size, task.seed, training.step)
    with in_use(base, training.adapter):
        loss, accuracy, gradient = _gradient(base, training.adapter, batch, plan.prompt_loss_weight)
        norm = float(gradient.norm())
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise NonFiniteLoss(training.step + 1, tuple(example.row for example in batch))
        rate = learning_rate(plan, training.step, task.steps)
        _adamw(training, gradient * min(1.0, plan.clip / (norm + 1e-6)), rate)
        training.step += 1
        ended_epoch = training.step % task.steps_per_epoch == 0
        validation = tuple(measure(base, task.valid)) if ended_epoch else None
    training.tokens += sum(len(example.ids) for example in batch)
    training.seconds += time.perf_counter() - started
    return Progress(
        name=name,
        step=training.step,
        loss=loss,
        token_accuracy=accuracy,
        gradient_norm=norm,
        learning_rate=rate,
        validation=validation,
    )


def _gradient(
    base: BaseModel, adapter: Adapter, batch: list[Encoded], prompt_loss_weight: float
) -> tuple[float, float, Tensor]:
    """Loss of the batch, share of its trained tokens that were most likely, and the flat gradient (N,).

    The loss is the weighted mean over the batch's own targets, whatever the number of examples.
    """
    packed = pack(batch, base.device, prompt_loss_weight)
    losses, greedy = token_losses(base, packed)
    loss = (losses * packed.weights).sum() / packed.weights.sum()
    leaves = [leaf for pair in adapter.matrices.values() for leaf in pair]
    gradients = torch.autograd.grad(loss, leaves)
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    trained_loss = float(losses.detach()[packed.trained].mean())
    return trained_loss, float(greedy[packed.trained].float().mean()), flat


@torch.no_grad()
def _adamw(training: Training, gradient: Tensor, rate: float) -> None:
    """Loshchilov and Hutter, "Decoupled Weight Decay Regularization" (2019), algorithm 2."""
    plan, count = training.task.plan, training.step + 1
    first, second, weights = training.first_moment, training.second_moment, training.adapter.flat
    first.lerp_(gradient, 1 - BETAS[0])
    second.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
    denominator = (second / (1 - BETAS[1] ** count)).sqrt_().add_(EPSILON)
    weights.mul_(1 - rate * plan.weight_decay)
    weights.addcdiv_(first, denominator, value=-rate / (1 - BETAS[0] ** count))
