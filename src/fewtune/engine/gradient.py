"""Loss and gradient of several trials in one pass over the frozen base."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fewtune.data.encode import Encoded
from fewtune.engine import losses
from fewtune.engine.attention import PackedAttention
from fewtune.engine.base_model import BaseModel
from fewtune.engine.batching import Pack, pack
from fewtune.engine.devices import moved
from fewtune.engine.head import target_losses
from fewtune.engine.lora import Adapter
from fewtune.engine.routing import Routing, joined, routing_of


@dataclass(frozen=True, kw_only=True)
class Share:
    """What one trial has in a pass: a plain value, since it may go to another process."""

    slot: int
    examples: tuple[Encoded, ...]
    """As they are laid out: where preferences are learned, better and worse answers in turn."""
    total: float
    """What the sum of the trial's losses is divided by: a property of the whole optimizer step."""
    prompt_loss_weight: float
    beta: float
    reference: tuple[tuple[float, float], ...] | None
    """For each pair its log-likelihoods where training began; None where texts are learned."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one share came to; sums, so that shares of one step can be added."""

    slot: int
    objective: float
    """Its part of the mean that is made small."""
    answer_loss: float
    """Nats, over the tokens of answers and stops."""
    greedy: int
    """How many of those tokens were the most likely ones."""
    tokens: int
    """How many there are."""
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Adapters:
    """The adapters of a pass, all of one rank, over the blocks from `first` on."""

    weights: NDArray[np.float32] | Tensor
    """(K, N); an array where it comes from another process."""
    scales: tuple[float, ...]
    rank: int
    first: int


def gradient(base: BaseModel, adapters: Adapters, shares: Sequence[Share]) -> tuple[Any, list[Outcome]]:
    """The gradient (K, N) of all the shares' objectives, as the weights came, and each share's numbers.

    A trial's rows touch only its own adapter, so the gradient of the sum is each trial's own gradient.
    """
    started = time.perf_counter()
    weights = torch.as_tensor(adapters.weights, device=base.device)
    examples = [example for share in shares for example in share.examples]
    packed = pack(examples, base.device, prompts=any(share.prompt_loss_weight for share in shares))
    like = laid_out(base, adapters.rank, adapters.first, weights[0])
    routing = _trainable(routing_of(weights, like, _scale(adapters, shares, base.device), base.dtype))
    values, greedy = _values(base, packed, examples, routing, adapters.first)
    leaves = [matrix for matrices in routing.matrices.values() for matrix in matrices]
    found = joined(torch.autograd.grad(_sum(shares, packed, values), leaves), like.groups, len(weights)).float()
    outcomes = _outcomes(shares, packed, values.detach().cpu(), greedy.cpu())
    seconds = (time.perf_counter() - started) / len(shares)
    given = found.numpy() if isinstance(adapters.weights, np.ndarray) else found
    return given, [replace(outcome, seconds=seconds) for outcome in outcomes]


def laid_out(base: BaseModel, rank: int, first: int, flat: Tensor) -> Adapter:
    """An adapter of this rank over the blocks from `first` on, with the given parameters."""
    groups = tuple(group for group in base.body.groups if group.layer >= first)
    return Adapter(groups=groups, rank=rank, alpha=rank, flat=flat)


def _values(
    base: BaseModel, packed: Pack, examples: Sequence[Encoded], routing: Routing, first: int
) -> tuple[Tensor, Tensor]:
    """Loss (P,) of every target and whether it was the most likely token."""
    prefix = base.prefixes.of(base.body, examples, first) if first else None
    hidden = base.body.states(
        packed.ids,
        packed.positions,
        PackedAttention(packed.lengths),
        routing,
        select=packed.sources,
        first=first,
        prefix=prefix,
    )
    return target_losses(hidden, base.body.head, base.body.head_bias, packed.targets)


def _slices(shares: Sequence[Share], packed: Pack) -> Iterator[slice]:
    """Where each share's targets stand among all of the pack's."""
    examples = targets = 0
    for share in shares:
        own = sum(packed.counts[examples : examples + len(share.examples)])
        yield slice(targets, targets + own)
        examples, targets = examples + len(share.examples), targets + own


def _scale(adapters: Adapters, shares: Sequence[Share], device: torch.device) -> float | Tensor:
    """alpha / rank for one trial alone; for several (T, K), zero where a token is another trial's."""
    if len(adapters.scales) == 1:
        return adapters.scales[0]
    tokens = torch.tensor([sum(len(example.ids) for example in share.examples) for share in shares])
    slots = torch.tensor([share.slot for share in shares]).repeat_interleave(tokens)
    scale = torch.zeros(len(slots), len(adapters.scales))
    scale[torch.arange(len(slots)), slots] = torch.tensor(adapters.scales)[slots]
    return moved(scale, device)


def _trainable(routing: Routing) -> Routing:
    """The same routing over leaves, so that each matrix gets a gradient of its own."""
    leaves = {
        name: tuple(matrix.detach().requires_grad_() for matrix in matrices)
        for name, matrices in routing.matrices.items()
    }
    return replace(routing, matrices=leaves)


def _sum(shares: Sequence[Share], packed: Pack, values: Tensor) -> Tensor:
    """All objectives; those that learn texts together, since a GPU computes their sums faster than it is asked to."""
    weights = torch.zeros(len(values))
    preferences: list[Tensor] = []
    for share, own in zip(shares, _slices(shares, packed), strict=True):
        if share.reference is None:
            weights[own] = losses.weights(packed.answers[own], share.prompt_loss_weight) / share.total
        else:
            preferences.append(_objective(share, values[own], packed.answers[own]))
    return sum(preferences, (values * moved(weights, values.device)).sum())


def _objective(share: Share, values: Tensor, answers: Tensor) -> Tensor:
    if share.reference is None:
        return (values * losses.weights(answers, share.prompt_loss_weight)).sum() / share.total
    lengths = [example.trained_tokens for example in share.examples]
    likelihoods = torch.stack([-part.sum() for part in values[answers].split(lengths)]).view(-1, 2)
    reference = torch.tensor(share.reference).to(values)
    return losses.preference(likelihoods, reference, share.beta) / share.total


def _outcomes(shares: Sequence[Share], packed: Pack, values: Tensor, greedy: Tensor) -> list[Outcome]:
    """From losses on the CPU, where they came in one piece: the host waits for the device once in a pass."""
    slices = zip(shares, _slices(shares, packed), strict=True)
    return [_outcome(share, values[own], greedy[own], packed.answers[own]) for share, own in slices]


def _outcome(share: Share, values: Tensor, greedy: Tensor, answers: Tensor) -> Outcome:
    return Outcome(
        slot=share.slot,
        objective=float(_objective(share, values, answers)),
        answer_loss=float(values[answers].sum()),
        greedy=int(greedy[answers].sum()),
        tokens=int(answers.sum()),
        seconds=0.0,
    )
