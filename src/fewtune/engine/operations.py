"""Parts of a Llama block, with their gradients written out to save passes over memory.

What is frozen gets no gradient: the norm's weight, the tables of rotations.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional

from fewtune.engine import fused


def rms_norm(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """x / sqrt(mean(x^2) + epsilon) * weight over the last axis (Zhang and Sennrich, 2019), in fp32."""
    if x.device.type != "cpu":
        return functional.rms_norm(x, x.shape[-1:], weight, epsilon)
    if torch.is_grad_enabled():
        return _RmsNorm.apply(x, weight, epsilon)  # type: ignore[no-any-return]
    return _normalised(x, epsilon)[0].mul_(weight)


def swiglu(gate_up: Tensor) -> Tensor:
    """(T, 2 F) to (T, F): silu of the first half times the second (Shazeer, "GLU Variants", 2020)."""
    return _SwiGlu.apply(gate_up) if torch.is_grad_enabled() else _gated(gate_up)  # type: ignore[no-any-return]


def rotations(config: Mapping[str, Any], head_width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines (context, head width) of rotary positions; the first half of the sines is negated.

    Su et al., "RoFormer" (2021), with the pairs that transformers uses: i and i + width / 2.
    """
    rope = config.get("rope_parameters") or config
    base = float(rope.get("rope_theta") or 10000.0)
    powers = torch.arange(0, head_width, 2, dtype=torch.int64).float() / head_width
    angles = torch.outer(torch.arange(config["max_position_embeddings"]).float(), 1.0 / base**powers)
    sines = angles.sin()
    return torch.cat([angles.cos()] * 2, dim=1).to(device), torch.cat([-sines, sines], dim=1).to(device)


def rotate(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """x (T, H, D) turned by its position; the tables are (T, 1, D)."""
    if torch.is_grad_enabled():
        return _Rotate.apply(x, cosines, sines)  # type: ignore[no-any-return]
    return _rotated(x, cosines, sines)


# What follows is used bare where no gradient is wanted: a token that is sampled takes so little time that
# autograd's bookkeeping would double it.


def _rotated(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    if fused.suits(x):
        return fused.turned(x, cosines, sines)
    return x.roll(x.shape[-1] // 2, -1).mul_(sines).addcmul_(x, cosines)


def _normalised(x: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """x / sqrt(mean(x^2) + epsilon), and the divisor."""
    root = torch.linalg.vector_norm(x, dim=-1, keepdim=True).mul_(x.shape[-1] ** -0.5)
    root = root.hypot_(_constant(epsilon**0.5, x.device, x.dtype))
    return x / root, root


@cache
def _constant(value: float, device: torch.device, dtype: torch.dtype) -> Tensor:
    return torch.tensor(value, device=device, dtype=dtype)


def _gated(gate_up: Tensor) -> Tensor:
    if fused.suits(gate_up):
        return fused.gated(gate_up)
    gate, up = gate_up.chunk(2, dim=-1)
    return functional.silu(gate).mul_(up)


class _Rotate(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
        ctx.save_for_backward(cosines, sines)
        return _rotated(x, cosines, sines)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        cosines, sines = ctx.saved_tensors
        x = gradients[0]
        if fused.suits(x):
            return fused.turned(x, cosines, sines, back=True), None, None
        return (x * cosines).addcmul_(x.roll(x.shape[-1] // 2, -1), sines, value=-1), None, None


class _RmsNorm(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        normal, root = _normalised(x, epsilon)
        ctx.save_for_backward(normal, root, weight)
        return normal * weight

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """With n the normalised x, r its divisor and g = dy * weight: (g - n mean(g n)) / r."""
        normal, root, weight = ctx.saved_tensors
        g = gradients[0] * weight
        along = torch.linalg.vecdot(g, normal).unsqueeze(-1).div_(g.shape[-1])
        return g.addcmul_(normal, along, value=-1).div_(root), None, None


class _SwiGlu(Function):
    @staticmethod
    def forward(ctx: Any, gate_up: Tensor) -> Tensor:
        ctx.save_for_backward(gate_up)
        return _gated(gate_up)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor]:
        """With s the sigmoid: d gate = dy up s (1 + gate (1 - s)), d up = dy gate s."""
        (gate_up,) = ctx.saved_tensors
        if fused.suits(gate_up):
            return (fused.gated_slopes(gate_up, gradients[0]),)
        gate, up = gate_up.chunk(2, dim=-1)
        both = torch.empty_like(gate_up)
        d_gate, d_up = both.chunk(2, dim=-1)
        torch.mul(gradients[0], functional.silu(gate), out=d_up)
        torch.ops.aten.silu_backward.grad_input(gradients[0] * up, gate, grad_input=d_gate)
        return (both,)
