"""Loss and gradient of several trials in one pass over the frozen base."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
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
from fewtune.engine.devices import fetched, moved
from fewtune.engine.head import target_losses
from fewtune.engine.lora import Adapter
from fewtune.engine.routing import Routing, joined, routing_of, trainable


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
    try:
        return _gradient(base, adapters, shares)
    except torch.OutOfMemoryError:
        if not (base.recordings and base.recordings.give_up()):
            raise
    return _gradient(base, adapters, shares)


def _gradient(base: BaseModel, adapters: Adapters, shares: Sequence[Share]) -> tuple[Any, list[Outcome]]:
    started = time.perf_counter()
    weights = torch.as_tensor(adapters.weights, device=base.device)
    examples = [example for share in shares for example in share.examples]
    packed = pack(examples, base.device, prompts=any(share.prompt_loss_weight for share in shares))
    states, back = _through_blocks(base, adapters, weights, packed, examples, _scale(adapters, shares, base.device))
    states.requires_grad_()
    values, greedy = target_losses(states, base.body.head, base.body.head_bias, packed.targets)
    # On their way before the blocks are gone back through: the host reads them meanwhile.
    told = fetched(torch.stack((values.detach(), greedy.to(values.dtype))))
    found = back(torch.autograd.grad(_sum(shares, packed, values), states)[0])
    outcomes = _outcomes(shares, packed, *told())
    seconds = (time.perf_counter() - started) / len(shares)
    given = found.numpy() if isinstance(adapters.weights, np.ndarray) else found
    return given, [replace(outcome, seconds=seconds) for outcome in outcomes]


def _through_blocks(
    base: BaseModel,
    adapters: Adapters,
    weights: Tensor,
    packed: Pack,
    examples: Sequence[Encoded],
    scale: float | Tensor,
) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Last hidden states (P, D) where a target is predicted, and what makes of their gradient that of the weights."""
    like = laid_out(base, adapters.rank, adapters.first, weights[0])
    if base.recordings and not adapters.first:
        recorded = base.recordings.find(base.body, like, len(weights), packed.lengths)
        return recorded.forward(weights, packed, scale), recorded.backward
    routing = trainable(routing_of(weights, like, scale, base.dtype))
    states = _states(base, packed, examples, routing, adapters.first)
    leaves = [matrix for matrices in routing.matrices.values() for matrix in matrices]

    def back(slopes: Tensor) -> Tensor:
        # As a sum, whose gradient is the slopes to the bit: given slopes, torch imports sympy for a second and a half.
        found = torch.autograd.grad((states * slopes).sum(), leaves)
        return joined(found, like.groups, len(weights)).float()

    return states.detach(), back


def laid_out(base: BaseModel, rank: int, first: int, flat: Tensor) -> Adapter:
    """An adapter of this rank over the blocks from `first` on, with the given parameters."""
    groups = tuple(group for group in base.body.groups if group.layer >= first)
    return Adapter(groups=groups, rank=rank, alpha=rank, flat=flat)


def _states(base: BaseModel, packed: Pack, examples: Sequence[Encoded], routing: Routing, first: int) -> Tensor:
    prefix = base.prefixes.of(base.body, examples, first) if first else None
    return base.body.states(
        packed.ids,
        packed.positions,
        PackedAttention(packed.lengths),
        routing,
        select=packed.sources,
        first=first,
        prefix=prefix,
    )


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
    """From losses and hits on the CPU, where they came in one piece: the host waits for the device once in a pass."""
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
