"""The output head where it is needed: the loss of given targets without keeping a logit."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from fewtune.engine import fused
from fewtune.engine.products import linear, product

ROWS_AT_ONCE = {"cpu": 128, "cuda": 2048, "mps": 1024}
"""Rows of logits that exist at the same time; on a CPU they should stay in its cache."""


def target_losses(hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Negative log-likelihood (P,) in nats of each target, and whether it was the most likely token (P,).

    Hidden states are (P, D), the head's weight (V, D), its bias (V,) or None. The gradient reaches
    `hidden` alone: the head is frozen.
    """
    return _TargetLosses.apply(hidden, weight, bias, targets)  # type: ignore[no-any-return]


class _TargetLosses(Function):
    """The loss and its gradient by chunks of rows, in one pass over the logits.

    With p = softmax(W h), the loss is -log p[target] and its gradient W^T (p - onehot(target)). The
    gradient is of full size for hidden states only, and scaled later by what the loss is used for.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        wanted = ctx.needs_input_grad[0]
        losses = torch.empty(len(hidden), device=hidden.device)
        greedy = torch.empty(len(hidden), dtype=torch.bool, device=hidden.device)
        slopes = torch.empty_like(hidden) if wanted else None
        size = ROWS_AT_ONCE[hidden.device.type]
        for begin in range(0, len(hidden), size):
            rows = slice(begin, begin + size)
            logits = linear(hidden[rows], weight, bias)
            if fused.suits(logits):
                losses[rows], greedy[rows] = fused.cross_entropy(logits, targets[rows], sloped=wanted)
            else:
                rounded = weight.dtype != hidden.dtype
                losses[rows], greedy[rows] = _one_by_one(logits, targets[rows, None], rounded)
            if slopes is not None:
                slopes[rows] = product(logits, weight)
        ctx.mark_non_differentiable(greedy)
        if slopes is not None:
            ctx.save_for_backward(slopes)
        return losses, greedy

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (slopes,) = ctx.saved_tensors
        return slopes * gradients[0][:, None].to(slopes.dtype), None, None, None


def _one_by_one(logits: Tensor, target: Tensor, rounded: bool) -> tuple[Tensor, Tensor]:
    """`fused.cross_entropy` of targets (R, 1) in torch's operations; the gradient is there in any case."""
    greedy = logits.gather(1, target) == logits.amax(dim=1, keepdim=True)
    if rounded:
        _settle(greedy, logits, target)
    return (_fp32 if logits.dtype == torch.float32 else _bf16)(logits, target)[:, 0], greedy[:, 0]


def _settle(greedy: Tensor, logits: Tensor, target: Tensor) -> None:
    """Of equal logits the first is the most likely, as in sampling; rounded ones are often equal.

    Only in the rows of hits, since to find the first takes as long as all else that is done to a row.
    """
    rows = greedy[:, 0].nonzero()[:, 0]
    greedy[rows] = logits[rows].argmax(dim=1, keepdim=True) == target[rows]


def _fp32(logits: Tensor, target: Tensor) -> Tensor:
    """Loss (R, 1); its gradient with respect to the logits (R, V) stands in their place afterwards."""
    own, highest = logits.gather(1, target), logits.amax(dim=1, keepdim=True)
    shares = logits.sub_(highest).exp_()
    total = shares.sum(dim=1, keepdim=True)
    shares.div_(total).scatter_add_(1, target, -torch.ones_like(own))
    return total.log() + highest - own


def _bf16(logits: Tensor, target: Tensor) -> Tensor:
    """The same in fp32 between logits and gradient of fewer bits: three passes over memory on a GPU, not eight."""
    table = logits.log_softmax(dim=1, dtype=torch.float32)
    own = table.gather(1, target)
    torch.exp(table, out=logits).scatter_(1, target, own.expm1().to(logits.dtype))
    return -own
