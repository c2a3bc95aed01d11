"""AdamW over many adapters at once, each with its own rate and step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

BETAS = (0.9, 0.999)
EPSILON = 1e-8


@dataclass(frozen=True, kw_only=True)
class Update:
    """How one adapter's next step is to be made."""

    rate: float
    count: int
    """Steps taken, this one included."""
    weight_decay: float
    clip: float
    """Largest norm of the gradient."""
    norm: float
    """The norm it has."""


@torch.no_grad()
def adamw(weights: Tensor, first: Tensor, second: Tensor, gradient: Tensor, updates: Sequence[Update]) -> None:
    """One step of K adapters, all tensors (K, N), in place.

    Loshchilov and Hutter, "Decoupled Weight Decay Regularization" (2019), algorithm 2.
    """

    def each(numbers: Sequence[float]) -> Tensor:
        return torch.tensor(numbers, device=weights.device)[:, None]

    clipped = gradient * each([min(1.0, u.clip / (u.norm + 1e-6)) for u in updates])
    first.lerp_(clipped, 1 - BETAS[0])
    second.mul_(BETAS[1]).addcmul_(clipped, clipped, value=1 - BETAS[1])
    denominator = (second / each([1 - BETAS[1] ** u.count for u in updates])).sqrt_().add_(EPSILON)
    weights.mul_(each([1 - u.rate * u.weight_decay for u in updates]))
    weights.sub_(first / denominator * each([u.rate / (1 - BETAS[0] ** u.count) for u in updates]))
