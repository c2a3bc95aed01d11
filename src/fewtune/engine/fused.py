"""Where and how the kernels are used: on CUDA, in bf16, if Triton can compile there; elsewhere torch does the same."""

from __future__ import annotations

import importlib
import warnings
from functools import cache
from typing import Any

import torch
from torch import Tensor

_HEAD_BLOCK, _BLOCK = 4096, 1024
_CHECK_TOLERANCE = 2e-2
"""As a share of a whole tensor; bf16 keeps two to three digits."""


def suits(tensor: Tensor) -> bool:
    """Whether the kernels compute for tensors like this one."""
    return tensor.is_cuda and tensor.dtype == torch.bfloat16 and works()


@cache
def works() -> bool:
    """Whether the kernels can be compiled here and compute what torch does; tried once, and said if not."""
    try:
        found = max(differences(torch.device("cuda")).values())
    except Exception as error:  # Triton compiles with what it finds on the machine, which can fail in many ways.
        reason = f"{type(error).__name__}: {error}"
    else:
        reason = None if found < _CHECK_TOLERANCE else f"their numbers are off by {found:.1%}"
    if reason:
        warnings.warn(f"Training is slower than it could be: no kernels of our own ({reason}).", stacklevel=2)
    return reason is None


@cache
def _kernels() -> Any:
    return importlib.import_module("fewtune.engine.kernels")


def cross_entropy(logits: Tensor, targets: Tensor, *, sloped: bool) -> tuple[Tensor, Tensor]:
    """Losses (R,) of the targets, and which of them were the most likely.

    Where `sloped`, the gradient stands in the place of the logits (R, V) afterwards.
    """
    rows, width = logits.shape
    losses = torch.empty(rows, device=logits.device)
    greedy = torch.empty(rows, dtype=torch.bool, device=logits.device)
    _kernels().cross_entropy[(rows,)](logits, targets, losses, greedy, width, _HEAD_BLOCK, sloped, num_warps=8)
    return losses, greedy


def gated(gate_up: Tensor) -> Tensor:
    rows, inner = len(gate_up), gate_up.shape[1] // 2
    out = gate_up.new_empty(rows, inner)
    _kernels().gated[(rows, -(-inner // _BLOCK))](gate_up, out, inner, _BLOCK)
    return out


def gated_slopes(gate_up: Tensor, slopes: Tensor) -> Tensor:
    """The gradient of `gated` with respect to its argument."""
    rows, inner = slopes.shape
    out = torch.empty_like(gate_up)
    _kernels().gated_slopes[(rows, -(-inner // _BLOCK))](gate_up, slopes.contiguous(), out, inner, _BLOCK)
    return out


def turned(states: Tensor, cosines: Tensor, sines: Tensor, *, back: bool = False) -> Tensor:
    """States (T, H, D), whose tokens may stand apart in memory, as `operations.rotate` turns them."""
    tokens, heads, width = states.shape
    if states.stride()[1:] != (width, 1):
        states = states.contiguous()
    out = states.new_empty(tokens, heads, width)
    padded = [1 << (size - 1).bit_length() for size in (heads, width // 2)]
    _kernels().turned[(tokens,)](
        states, states.stride(0), cosines, sines, out, out.stride(0), heads, -1.0 if back else 1.0, width // 2, *padded
    )  # fmt: skip
    return out


def scaled(states: Tensor, scales: Tensor, rank: int) -> Tensor:
    """(T, sites * K * rank) times scales (T, K), in place."""
    size, width = states.numel(), states.shape[1]
    _kernels().scaled[(-(-size // _BLOCK),)](states, scales, size, width, scales.shape[1], rank, _BLOCK)
    return states


def adamw(
    weights: Tensor,
    first: Tensor,
    second: Tensor,
    slopes: Tensor,
    numbers: Tensor,
    betas: tuple[float, float],
    epsilon: float,
) -> None:
    """A step of K adapters, tensors (K, N), in place.

    The numbers (K, 4) of each: what its gradient is multiplied by, then its weights, its rate as corrected for the
    first moment's start at zero, and the root of the correction for the second's.
    """
    count, size = weights.shape
    grid = (-(-size // _BLOCK), count)
    _kernels().adamw[grid](weights, first, second, slopes, numbers, size, *betas, epsilon, _BLOCK)


def differences(device: torch.device, dtype: torch.dtype = torch.bfloat16) -> dict[str, float]:
    """How far each kernel is from torch, as a share of the whole, on small tensors of odd shapes."""

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(device, dtype)

    generator = torch.Generator().manual_seed(0)
    # Whatever the mode of the caller: torch's gradients are part of the check.
    with torch.inference_mode(False), torch.enable_grad():
        return {
            **_check_head(drawn(5, 4999), torch.tensor([0, 1, 4095, 4096, 4998], device=device)),
            **_check_gated(drawn(5, 2 * 1100), drawn(5, 1100)),
            **_check_turned(drawn(5, 4, 48), drawn(5, 1, 24), drawn(5, 1, 24)),
            **_check_scaled(drawn(7, 2 * 3 * 12), drawn(7, 3).float()),
            **_check_adamw([drawn(2, 1100).float() for _ in range(4)]),
        }


def _check_head(logits: Tensor, targets: Tensor) -> dict[str, float]:
    exact = logits.float().clone().requires_grad_()
    losses = torch.nn.functional.cross_entropy(exact, targets, reduction="none")
    (slopes,) = torch.autograd.grad(losses.sum(), exact)
    found, greedy = cross_entropy(logits, targets, sloped=True)
    hits = (greedy == (exact.argmax(dim=1) == targets)).float()
    return {"loss": _off(found, losses), "slopes": _off(logits, slopes), "greedy": _off(hits, torch.ones_like(hits))}


def _check_gated(gate_up: Tensor, slopes: Tensor) -> dict[str, float]:
    exact = gate_up.float().requires_grad_()
    gate, up = exact.chunk(2, dim=1)
    out = torch.nn.functional.silu(gate) * up
    (expected,) = torch.autograd.grad(out, exact, slopes.float())
    return {"gated": _off(gated(gate_up), out), "gated slopes": _off(gated_slopes(gate_up, slopes), expected)}


def _check_turned(states: Tensor, cosines: Tensor, half_sines: Tensor) -> dict[str, float]:
    cosines, sines = torch.cat([cosines] * 2, dim=2), torch.cat([-half_sines, half_sines], dim=2)
    exact = states[:, :3].float().requires_grad_()
    out = exact * cosines + exact.roll(exact.shape[2] // 2, 2) * sines
    (expected,) = torch.autograd.grad(out, exact, states[:, 1:].float())
    back = turned(states[:, 1:], cosines, sines, back=True)
    return {"turned": _off(turned(states[:, :3], cosines, sines), out), "turned back": _off(back, expected)}


def _check_scaled(states: Tensor, scales: Tensor) -> dict[str, float]:
    expected = states.float().view(len(states), 2, 3, 12) * scales[:, None, :, None]
    return {"scaled": _off(scaled(states.clone(), scales, 12), expected.view_as(states))}


def _check_adamw(tensors: list[Tensor]) -> dict[str, float]:
    weights, first, second, slopes = tensors
    second.abs_()
    mean, square = 0.9 * first + 0.1 * slopes / 2, 0.99 * second + 0.01 * (slopes / 2) ** 2
    expected = weights * 0.75 - 0.125 * mean / (square.sqrt() / 0.5 + 1e-8)
    numbers = torch.tensor([[0.5, 0.75, 0.125, 0.5]] * 2, device=weights.device)
    adamw(weights, first, second, slopes, numbers, (0.9, 0.99), 1e-8)
    return {"weights": _off(weights, expected), "first": _off(first, mean), "second": _off(second, square)}


def _off(found: Tensor, exact: Tensor) -> float:
    return float((found.float() - exact.detach()).norm() / exact.detach().norm())
