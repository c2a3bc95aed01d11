"""What many rows begin with, such as the worked examples of a few-shot prompt, read once for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from fewtune.engine.attention import PackedAttention
from fewtune.engine.base_model import BaseModel
from fewtune.engine.lora import Adapter
from fewtune.engine.routing import route

_FEWEST_TOKENS = 64
"""Below so many tokens saved a pass of its own for the prefix takes longer than it saves."""


@dataclass(frozen=True, kw_only=True)
class SharedPrefix:
    """The keys and values of a prefix, through the adapter that all its rows go through."""

    length: int
    layers: dict[int, Tensor] = field(default_factory=dict[int, Tensor])
    """(2, length, G, D) by block."""


def shared_length(rows: Sequence[tuple[int, ...]]) -> int:
    """How many first tokens all rows have in common and are worth reading once; a token of every row is left."""
    if len(rows) < 2:
        return 0
    # What the first and the last in order have in common, all between them have too.
    pairs = enumerate(zip(min(rows), max(rows), strict=False))
    shortest = min(map(len, rows)) - 1
    length = min(shortest, next((place for place, (first, last) in pairs if first != last), shortest))
    return length if (len(rows) - 1) * length >= _FEWEST_TOKENS else 0


def read_prefix(
    base: BaseModel, ids: Sequence[int], adapter: Adapter | None, before: SharedPrefix | None = None
) -> SharedPrefix:
    """Pass the prefix, or what follows one that was read before, through the base, keeping what later tokens see."""
    attention = _Reading(len(ids), before)
    tokens = torch.tensor(ids, device=base.device)
    routing = route([adapter], [len(ids)], base.dtype)
    places = torch.arange(len(ids), device=base.device) + (before.length if before else 0)
    base.body.states(tokens, places, attention, routing, select=torch.tensor([len(ids) - 1], device=base.device))
    return attention.prefix


class _Reading:
    """Causal attention of one row that keeps its keys and values."""

    def __init__(self, length: int, before: SharedPrefix | None) -> None:
        self._before = before
        self._attention = AttentionAfterPrefix([before], [length]) if before else PackedAttention([length])
        self.prefix = SharedPrefix(length=length + (before.length if before else 0))

    def __call__(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float | None, window: int | None
    ) -> Tensor:
        new = torch.stack((key, value))
        self.prefix.layers[layer] = torch.cat((self._before.layers[layer], new), dim=1) if self._before else new
        return self._attention(layer, query, key, value, scale, window)


class AttentionAfterPrefix:
    """Causal attention inside each of several rows, each of which also sees the prefix that stands before it."""

    def __init__(self, prefixes: Sequence[SharedPrefix | None], lengths: Sequence[int]) -> None:
        """One prefix a row, None for a row without; the lengths are those of the rows without it."""
        self._prefixes, self._lengths = prefixes, tuple(lengths)
        self._masks: dict[tuple[int, int, int | None], Tensor] = {}

    def __call__(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float | None, window: int | None
    ) -> Tensor:
        queries, keys, values = (states.split(self._lengths) for states in (query, key, value))
        rows = zip(self._prefixes, queries, keys, values, strict=True)
        return torch.cat([self._row(layer, prefix, q, k, v, scale, window) for prefix, q, k, v in rows])

    def _row(
        self,
        layer: int,
        prefix: SharedPrefix | None,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        scale: float | None,
        window: int | None,
    ) -> Tensor:
        """One row: (T, heads, D), in and out."""
        before = prefix.length if prefix else 0
        if prefix:
            keys, values = prefix.layers[layer]
            key, value = torch.cat((keys, key)), torch.cat((values, value))
        states = [part.transpose(0, 1)[None] for part in (query, key, value)]
        mask = self._mask(len(query), before, window, query)
        mixed = scaled_dot_product_attention(
            *states, attn_mask=mask, scale=scale, enable_gqa=query.shape[1] != key.shape[1]
        )
        return mixed[0].transpose(0, 1)

    def _mask(self, length: int, before: int, window: int | None, like: Tensor) -> Tensor:
        """(T, before + T): which of the tokens up to itself each token sees."""
        wanted = (length, before, window)
        if wanted not in self._masks:
            places = torch.arange(before + length, device=like.device)
            distance = places[before:, None] - places[None]
            self._masks[wanted] = (distance >= 0) if window is None else (distance >= 0) & (distance < window)
        return self._masks[wanted]
