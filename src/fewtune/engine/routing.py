"""Which adapter each token of a pass goes through, and the linear layer that follows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from fewtune.engine import fused
from fewtune.engine.devices import moved
from fewtune.engine.lora import Adapter, Group, split
from fewtune.engine.products import linear, product


@dataclass(frozen=True, kw_only=True)
class Routing:
    """The adapters of one pass over T tokens, K of them side by side.

    With K = 1 every token goes through the one adapter. With more, `scale` is zero wherever a token
    does not belong to an adapter: one wide product serves all, and what is not a token's own is cut out.
    """

    matrices: Mapping[str, tuple[Tensor, ...]]
    """Group name to its A (sites * K * rank, inputs) and its sites' B^T (K * rank, outputs)."""
    rank: int
    scale: float | Tensor
    """alpha / rank, or (T, K)."""


def route(
    adapters: Sequence[Adapter | None], lengths: Sequence[int], dtype: torch.dtype | None = None
) -> Routing | None:
    """Send the tokens of each of several rows, of the given lengths, through its own adapter; None is the bare base.

    Adapters of lower rank, or of fewer layers, are filled up with zeros, which changes nothing.
    """
    distinct = list({id(adapter): adapter for adapter in adapters if adapter}.values())
    if not distinct:
        return None
    first = distinct[0]
    if len(distinct) == 1 and None not in adapters:
        return routing_of(first.flat[None], first, first.scale, dtype)
    like = max(distinct, key=lambda adapter: len(adapter.groups))
    rank = max(adapter.rank for adapter in distinct)
    flat = torch.stack([_widened(adapter, like.groups, rank) for adapter in distinct])
    slot_of = {id(adapter): slot for slot, adapter in enumerate(distinct)}
    scale = torch.zeros(len(adapters), len(distinct))
    for row, adapter in enumerate(adapters):
        if adapter:
            scale[row, slot_of[id(adapter)]] = adapter.scale
    per_token = moved(scale.repeat_interleave(torch.tensor(lengths), dim=0), flat.device)
    return routing_of(flat, Adapter(groups=like.groups, rank=rank, alpha=rank, flat=flat[0]), per_token, dtype)


def routing_of(flat: Tensor, like: Adapter, scale: float | Tensor, dtype: torch.dtype | None = None) -> Routing:
    """Route through stacked adapters (K, N) that are all laid out like the given one.

    With a dtype the matrices are converted once, not whenever they are used.
    """
    parts = split(flat.to(dtype or flat.dtype), like.groups, like.rank)
    if len(flat) == 1:
        found = [tuple(view[0] for view in views) for views in parts]
    else:
        found = _adapters_together(parts, like.groups)
    matrices = {group.name: of_group for group, of_group in zip(like.groups, found, strict=True)}
    return Routing(matrices=matrices, rank=like.rank, scale=scale)


def _adapters_together(parts: Sequence[tuple[Tensor, ...]], groups: Sequence[Group]) -> list[tuple[Tensor, ...]]:
    """A's (K, sites * rank, inputs) to (sites * K * rank, inputs), B^T's (K, rank, outputs) to (K * rank, outputs).

    What is alike in all blocks is copied at once: a GPU copies faster than it is asked to.
    """
    alike: dict[tuple[int, torch.Size], list[Tensor]] = {}
    for group, (a, *bs) in zip(groups, parts, strict=True):
        for sites, part in ((len(group.sites), a), *((1, b) for b in bs)):
            by_site = part.view(len(part), sites, -1).transpose(0, 1)
            alike.setdefault((sites, part.shape), []).append(by_site)
    copies = {key: iter(torch.cat(those).view(len(those), -1, key[1][-1]).unbind()) for key, those in alike.items()}
    return [
        (next(copies[len(group.sites), a.shape]), *(next(copies[1, b.shape]) for b in bs))
        for group, (a, *bs) in zip(groups, parts, strict=True)
    ]


def trainable(routing: Routing) -> Routing:
    """The same routing over leaves, so that each matrix gets a gradient of its own."""
    leaves = {
        name: tuple(matrix.detach().requires_grad_() for matrix in matrices)
        for name, matrices in routing.matrices.items()
    }
    return replace(routing, matrices=leaves)


def joined(matrices: Sequence[Tensor], groups: Sequence[Group], count: int) -> Tensor:
    """Gradients of a routing's matrices, in their order, as stacked adapters (K, N) have them."""
    parts: list[Tensor] = []
    rest = iter(matrices)
    for group in groups:
        parts += next(rest).reshape(len(group.sites), count, -1).unbind()
        parts += [next(rest).reshape(count, -1) for _ in group.sites]
    return torch.cat(parts, dim=1)


def _widened(adapter: Adapter, groups: Sequence[Group], rank: int) -> Tensor:
    """The flat vector of the same adapter at a higher rank and over more groups."""
    if adapter.rank == rank and len(adapter.groups) == len(groups):
        return adapter.flat
    parts: list[Tensor] = []
    for group in groups:
        pairs = [adapter.matrices.get(site.name) for site in group.sites]
        for site, pair in zip(group.sites, pairs, strict=True):
            parts.append(_with_rows(pair[0] if pair else adapter.flat.new_zeros(0, site.inputs), rank))
        for site, pair in zip(group.sites, pairs, strict=True):
            parts.append(_with_rows(pair[1] if pair else adapter.flat.new_zeros(0, site.outputs), rank))
    return torch.cat([part.reshape(-1) for part in parts])


def _with_rows(matrix: Tensor, rows: int) -> Tensor:
    return torch.cat([matrix, matrix.new_zeros(rows - len(matrix), matrix.shape[1])])


def adapted_linear(x: Tensor, weight: Tensor, bias: Tensor | None, group: str, routing: Routing | None) -> Tensor:
    """x W^T + bias, and what the token's adapter adds.

    x is (T, inputs), W (outputs, inputs) with a group's sites one below the other; the result is (T, outputs).
    """
    if routing is None or group not in routing.matrices:
        return linear(x, weight, bias)
    matrices = tuple(matrix.to(x.dtype) for matrix in routing.matrices[group])
    if torch.is_grad_enabled():
        return _AdaptedLinear.apply(x, weight, bias, routing.rank, routing.scale, *matrices)  # type: ignore[no-any-return]
    return _forward(x, weight, bias, routing.rank, routing.scale, matrices)[0]


def low_rank(x: Tensor, group: str, routing: Routing | None) -> Tensor | None:
    """Only what the adapter adds, for layers whose weights are not a plain matrix; None where there is none."""
    if routing is None or group not in routing.matrices:
        return None
    a, b = routing.matrices[group]
    return (_scaled(x.to(a.dtype) @ a.T, routing.rank, routing.scale) @ b).to(x.dtype)


class _AdaptedLinear(Function):
    """Written out, since autograd would give x two gradients of full size to be added, and y a second copy."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, rank: int, scale: float | Tensor, *matrices: Tensor
    ) -> Tensor:
        y, h = _forward(x, weight, bias, rank, scale, matrices)
        ctx.save_for_backward(x, weight, h, *matrices)
        ctx.rank, ctx.scale = rank, scale
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, h, a, *bs = ctx.saved_tensors
        (dy,) = gradients
        dh = torch.empty_like(h)
        db: list[Tensor] = []
        for dy_i, h_i, dh_i, b in zip(_columns(dy, bs), _sites(h, bs), _sites(dh, bs), bs, strict=True):
            torch.mm(dy_i, b.T, out=dh_i)
            db.append(h_i.T @ dy_i)
        dh = _scaled(dh, ctx.rank, ctx.scale)
        dx = None
        if ctx.needs_input_grad[0]:
            dx = product(dy, weight)
            dx.addmm_(dh, a)
        return dx, None, None, None, None, dh.T @ x, *db


def _forward(
    x: Tensor, weight: Tensor, bias: Tensor | None, rank: int, scale: float | Tensor, matrices: tuple[Tensor, ...]
) -> tuple[Tensor, Tensor]:
    """y (T, outputs) and the scaled A x (T, sites * K * rank)."""
    a, *bs = matrices
    y = linear(x, weight, bias)
    h = _scaled(x @ a.T, rank, scale)
    if len(bs) == 1:
        return y.addmm_(h, bs[0]), h
    for y_i, h_i, b in zip(_columns(y, bs), _sites(h, bs), bs, strict=True):
        y_i.addmm_(h_i, b)
    return y, h


def _columns(y: Tensor, bs: Sequence[Tensor]) -> Sequence[Tensor]:
    """Each site's columns of y, as views."""
    return y.split([b.shape[1] for b in bs], dim=1)


def _sites(h: Tensor, bs: Sequence[Tensor]) -> Sequence[Tensor]:
    """Each site's columns (T, K * rank) of h, as views."""
    return h.chunk(len(bs), dim=1)


def _scaled(h: Tensor, rank: int, scale: float | Tensor) -> Tensor:
    """h times the scale of each token and adapter, in place; zero where the token is not the adapter's.

    The scale stays fp32: alpha / rank, rounded to bf16, would not be that of the adapter alone.
    """
    if isinstance(scale, Tensor):
        if fused.suits(h):
            return fused.scaled(h, scale, rank)
        by_adapter = h.view(len(h), -1, scale.shape[1], rank)
        return by_adapter.mul_(scale[:, None, :, None]).view_as(h)
    return h.mul_(scale)
