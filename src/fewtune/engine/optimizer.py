"""AdamW over many adapters at once, each with its own rate and step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim.adamw import adamw as one_step

from fewtune.engine import fused
from fewtune.engine.devices import moved

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
        return moved(torch.tensor(numbers), weights.device)[:, None]

    if weights.is_cuda and fused.works():
        numbers = moved(torch.tensor([_numbers(update) for update in updates]), weights.device)
        return fused.adamw(weights, first, second, gradient, numbers, BETAS, EPSILON)
    clipped = gradient * each([min(1.0, u.clip / (u.norm + 1e-6)) for u in updates])
    before = each([u.count - 1.0 for u in updates])
    for slot, update in enumerate(updates):
        # torch's own in one kernel: seven numbers to and from memory for each weight, where operations take 27.
        one_step(
            *([tensor[slot]] for tensor in (weights, clipped, first, second)),
            max_exp_avg_sqs=[],
            state_steps=[before[slot, 0]],
            fused=True,
            amsgrad=False,
            beta1=BETAS[0],
            beta2=BETAS[1],
            lr=update.rate,
            weight_decay=update.weight_decay,
            eps=EPSILON,
            maximize=False,
        )


def _numbers(update: Update) -> tuple[float, float, float, float]:
    """As `fused.adamw` wants them."""
    first, second = (1 - beta**update.count for beta in BETAS)
    clip = min(1.0, update.clip / (update.norm + 1e-6))
    return clip, 1 - update.rate * update.weight_decay, update.rate / first, second**0.5
