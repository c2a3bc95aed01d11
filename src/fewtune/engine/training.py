"""A training on its way, and several of them side by side."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from fewtune.data.encode import Encoded
from fewtune.engine.base_model import BaseModel
from fewtune.engine.likelihood import measure
from fewtune.engine.lora import Adapter, average, create, lowest_layer, upper
from fewtune.schedule.order import batch_at, steps_per_epoch
from fewtune.types import Plan

RECENT = 20
"""Steps whose losses are remembered."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is to be trained, on what."""

    plan: Plan
    seed: int
    train: tuple[Encoded, ...]
    valid: tuple[Encoded, ...]
    rejected: Mapping[int, Encoded] = field(default_factory=dict[int, Encoded])
    """By row: the worse answer to the same prompt. With them the task learns preferences, not texts."""

    @property
    def steps_per_epoch(self) -> int:
        return steps_per_epoch(len(self.train), self.plan.rows_per_step)

    @property
    def steps(self) -> int:
        return self.steps_per_epoch * self.plan.epochs

    def batch(self, step: int) -> list[Encoded]:
        """The examples of optimizer step `step`, counted from 0."""
        return batch_at(self.train, self.plan.rows_per_step, self.seed, step)


@dataclass(kw_only=True)
class Training:
    """A task on its way: all that changes while it trains, and all that a checkpoint must keep."""

    task: Task
    adapter: Adapter
    first_moment: Tensor
    """(N,) AdamW's running mean of the gradient."""
    second_moment: Tensor
    """(N,) and of its square."""
    reference: Mapping[int, tuple[float, float]]
    """By row: log-likelihood of the better and the worse answer where the training started."""
    step: int = 0
    tokens: int = 0
    """Tokens read so far, padding not among them."""
    seconds: float = 0.0
    """What it took of the machine's time: with others side by side, its share; they add up to what passed, or less."""
    epoch_ends: list[Tensor] = field(default_factory=list[Tensor])
    """The adapters (N,) at the end of the last epochs, as many as the plan averages; empty where it averages none."""
    recent_losses: deque[float] = field(default_factory=lambda: deque[float](maxlen=RECENT))
    """A sudden rise shows against their median."""

    @property
    def lowest_layer(self) -> int:
        return lowest_layer(self.adapter)

    @property
    def result(self) -> Adapter:
        """What the training has come to: its adapter, or the mean of the last epochs' where the plan asks for it."""
        return average(self.adapter, self.epoch_ends) if self.epoch_ends else self.adapter

    def end_epoch(self) -> None:
        """Remember the adapter for the mean; to be called after an epoch's last step."""
        kept = self.task.plan.averaged_checkpoints
        if kept > 1:
            self.epoch_ends = [*self.epoch_ends, self.adapter.flat.clone()][-kept:]


def branch(training: Training, task: Task) -> Training:
    """A training that goes on from the very step of another, with another end or rate; the other is left as it is.

    So epochs 1, 2, 4 and 8, each with its own cooldown, come from one trunk (Hägele et al., 2024).
    """
    copied = replace(training.adapter, flat=training.adapter.flat.clone())
    return replace(
        training,
        task=task,
        adapter=copied,
        first_moment=training.first_moment.clone(),
        second_moment=training.second_moment.clone(),
        recent_losses=training.recent_losses.copy(),
    )


def begin(base: BaseModel, task: Task, adapter: Adapter | None = None) -> Training:
    """A training at step 0, from a new adapter or from a given one, which is left as it is.

    Raises TrainingError for a rank above the width of a layer.
    """
    plan = task.plan
    if adapter is None:
        groups = upper(base.body.groups, plan.adapt_top, base.body.layers)
        adapter = create(groups, plan.rank, plan.alpha, task.seed, base.device)
    reference = _reference(base, task, adapter) if task.rejected else {}
    own = replace(adapter, flat=adapter.flat.clone())
    moments = torch.zeros_like(own.flat)
    return Training(task=task, adapter=own, first_moment=moments, second_moment=moments.clone(), reference=reference)


def _reference(base: BaseModel, task: Task, adapter: Adapter) -> dict[int, tuple[float, float]]:
    better = measure(base, task.train, adapter)
    worse = measure(base, [task.rejected[example.row] for example in task.train], adapter)
    return {b.row: (sum(b.log_likelihoods), sum(w.log_likelihoods)) for b, w in zip(better, worse, strict=True)}


def side_by_side(trainings: Sequence[Training]) -> tuple[Tensor, Tensor, Tensor]:
    """Weights and both moments (K, N) of several trainings; row k is training k's own memory.

    One alone is left where it is, several move into common memory.
    """
    if len(trainings) == 1:
        (only,) = trainings
        return only.adapter.flat[None], only.first_moment[None], only.second_moment[None]
    weights = _stacked([training.adapter.flat for training in trainings])
    first = _stacked([training.first_moment for training in trainings])
    second = _stacked([training.second_moment for training in trainings])
    for slot, training in enumerate(trainings):
        training.adapter = replace(training.adapter, flat=weights[slot])
        training.first_moment, training.second_moment = first[slot], second[slot]
    return weights, first, second


def _stacked(vectors: Sequence[Tensor]) -> Tensor:
    """Vectors (N,) as (K, N): where they lie in memory, if that is one after the other, as after a common step."""
    first, size = vectors[0], len(vectors[0])
    begin, memory = first.storage_offset(), first.untyped_storage().data_ptr()
    places = [(vector.untyped_storage().data_ptr(), vector.storage_offset()) for vector in vectors]
    if places == [(memory, begin + slot * size) for slot in range(len(vectors))]:
        return first.as_strided((len(vectors), size), (size, 1))
    return torch.stack(list(vectors))
