from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from fewtune.engine.optimizer import BETAS, EPSILON, Update, adamw

NUMBERS = 50


def update(gradient: Tensor, *, rate: float, count: int, decay: float = 0.0, clip: float = 1.0) -> Update:
    return Update(rate=rate, count=count, weight_decay=decay, clip=clip, norm=float(gradient.norm()))


def steps(gradients: Sequence[Tensor], start: Tensor, *, rate: float, decay: float, clip: float) -> Tensor:
    """Our optimizer over several steps of one adapter."""
    weights, first, second = start.clone()[None], torch.zeros(1, NUMBERS), torch.zeros(1, NUMBERS)
    for count, gradient in enumerate(gradients, 1):
        one = update(gradient, rate=rate, count=count, decay=decay, clip=clip)
        adamw(weights, first, second, gradient[None], [one])
    return weights[0]


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("clip", [0.3, 1e9])
def test_it_takes_the_steps_of_torchs_adamw_after_torchs_clipping(decay: float, clip: float) -> None:
    generator = torch.Generator().manual_seed(0)
    start, *gradients = torch.randn(9, NUMBERS, generator=generator)
    theirs = start.clone().requires_grad_()
    optimizer = torch.optim.AdamW([theirs], lr=1e-2, betas=BETAS, eps=EPSILON, weight_decay=decay)
    for gradient in gradients:
        theirs.grad = gradient.clone()
        torch.nn.utils.clip_grad_norm_([theirs], clip)
        optimizer.step()
    ours = steps(gradients, start, rate=1e-2, decay=decay, clip=clip)
    torch.testing.assert_close(ours, theirs.detach(), rtol=1e-5, atol=1e-6)


def test_each_of_several_adapters_takes_the_step_it_takes_alone_in_every_bit() -> None:
    generator = torch.Generator().manual_seed(1)
    weights, first, gradient = torch.randn(3, 4, NUMBERS, generator=generator)
    second = torch.rand(4, NUMBERS, generator=generator)
    updates = [
        update(gradient[slot], rate=10.0**-slot, count=1 + 7 * slot, decay=0.1 * slot, clip=0.5 + slot)
        for slot in range(4)
    ]
    alone = [tensor.clone() for tensor in (weights, first, second)]
    adamw(weights, first, second, gradient, updates)
    for slot in range(4):
        rows = [tensor[slot : slot + 1] for tensor in alone]
        adamw(*rows, gradient[slot : slot + 1], [updates[slot]])
        for together, own in zip((weights, first, second), rows, strict=True):
            assert torch.equal(together[slot], own[0])


def test_a_gradient_of_nothing_moves_nothing() -> None:
    weights, zero = torch.ones(1, NUMBERS), torch.zeros(1, NUMBERS)
    adamw(weights, zero.clone(), zero.clone(), zero, [update(zero[0], rate=1.0, count=1)])
    assert torch.equal(weights, torch.ones(1, NUMBERS))
