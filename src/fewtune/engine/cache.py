"""Keys and values of answers that are being written, and the attention that reads them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from fewtune.engine.attention import PackedAttention


class Cache:
    """What several answers keep of the tokens they have read; row i belongs to answer i."""

    def __init__(self) -> None:
        self.lengths: list[int] = []
        """Tokens that each row holds."""
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}
        """Keys and values of each layer: (rows, G, room, D)."""
        self.rows, self.room = 1, 32
        """Rows, and tokens of each, that there is space for."""

    def make_room(self, rows: int, length: int) -> None:
        """Grow by doubling, so that a token is copied a constant number of times."""
        if rows <= self.rows and length <= self.room:
            return
        self.rows = self.rows if rows <= self.rows else max(rows, 2 * self.rows)
        self.room = self.room if length <= self.room else max(length, 2 * self.room)
        self._layers = {
            layer: (self._grown(keys), self._grown(values)) for layer, (keys, values) in self._layers.items()
        }

    def _grown(self, states: Tensor) -> Tensor:
        rows, heads, room, width = states.shape
        grown = states.new_zeros(self.rows, heads, self.room, width)
        grown[:rows, :, :room] = states
        return grown

    def layer(self, number: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of one layer, made when first asked for, for heads (T, G, D) like the given ones."""
        if number not in self._layers:
            shape = self.rows, like.shape[1], self.room, like.shape[2]
            # Zeros, since what a row may not see is multiplied by zero, and zero times not-a-number is not zero.
            self._layers[number] = like.new_zeros(shape), like.new_zeros(shape)
        return self._layers[number]

    def remove(self, row: int) -> None:
        """Forget an answer; the last one takes its row."""
        length = self.lengths.pop()
        last = len(self.lengths)
        if row == last:
            return
        for states in (states for layer in self._layers.values() for states in layer):
            states[row, :, :length] = states[last, :, :length]
        self.lengths[row] = length


class CachedAttention:
    """Attention of a pass in which every row reads on: old rows their one new token, new rows their whole prompt."""

    def __init__(self, cache: Cache, counts: Sequence[int], device: torch.device) -> None:
        """`counts` are the tokens that each row reads; the rows that hold none yet are the last ones."""
        self._cache = cache
        self._rows = next((row for row, length in enumerate(cache.lengths) if not length), len(counts))
        """How many are old."""
        self._packed = PackedAttention(counts[self._rows :]) if self._rows < len(counts) else None
        old = cache.lengths[: self._rows]
        self._longest = max(old, default=0) + 1
        self._even = min(old, default=0) + 1 == self._longest
        cache.make_room(len(counts), max(map(sum, zip(cache.lengths, counts, strict=True))))
        self.positions = torch.tensor(_positions(cache.lengths, counts), device=device)
        """(T,)"""
        row_of = [row for row, count in enumerate(counts) for _ in range(count)]
        self._row_of = torch.tensor(row_of, device=device)
        self._places: dict[int, Tensor] = {}
        self._masks: dict[int | None, Tensor | None] = {}

    def __call__(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float | None, window: int | None
    ) -> Tensor:
        places = self._places_of(key.shape[1])
        keys, values = self._cache.layer(layer, key)
        for states, new in ((keys, key), (values, value)):
            states.view(-1, key.shape[2]).index_copy_(0, places, new.reshape(-1, key.shape[2]))
        if not self._packed:
            return self._read(query, keys, values, scale, window)
        old, new = slice(None, self._rows), slice(self._rows, None)
        mixed = self._packed(layer, query[new], key[new], value[new], scale, window)
        return torch.cat([self._read(query[old], keys, values, scale, window), mixed]) if self._rows else mixed

    def _places_of(self, heads: int) -> Tensor:
        """(T * G,) where the heads of the new tokens are kept."""
        if heads not in self._places:
            first = (self._row_of * heads * self._cache.room + self.positions)[:, None]
            self._places[heads] = (first + torch.arange(heads, device=first.device) * self._cache.room).view(-1)
        return self._places[heads]

    def _read(self, query: Tensor, keys: Tensor, values: Tensor, scale: float | None, window: int | None) -> Tensor:
        """One token of every old row (rows, H, D), over all that its row holds."""
        seen = slice(None, self._rows), slice(None), slice(None, self._longest)
        # The heads that share a key stand where the tokens of a query would: grouping costs nothing.
        grouped = query.reshape(self._rows, keys.shape[1], -1, query.shape[2])
        mixed = scaled_dot_product_attention(
            grouped, keys[seen], values[seen], attn_mask=self._mask(window, query), scale=scale
        )
        return mixed.view_as(query)

    def _mask(self, window: int | None, like: Tensor) -> Tensor | None:
        """(rows, 1, 1, longest) to be added to the scores; None where every row sees everything."""
        if window not in self._masks:
            self._masks[window] = self._new_mask(window, like)
        return self._masks[window]

    def _new_mask(self, window: int | None, like: Tensor) -> Tensor | None:
        if self._even and (window is None or self._longest <= window):
            return None
        distance = self.positions[: self._rows, None] - torch.arange(self._longest, device=like.device)
        hidden = distance < 0 if window is None else (distance < 0) | (distance >= window)
        return torch.zeros_like(hidden, dtype=like.dtype).masked_fill_(hidden, -torch.inf)[:, None, None]


def _positions(lengths: Sequence[int], counts: Sequence[int]) -> list[int]:
    return [place for length, count in zip(lengths, counts, strict=True) for place in range(length, length + count)]
