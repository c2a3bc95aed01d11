"""Keys and values of answers that are being written, and the attention that reads them."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from fewtune.engine.attention import Attention, PackedAttention
from fewtune.engine.shared_prefix import AttentionAfterPrefix, SharedPrefix

_FIRST_ROOM = 32
_LARGE = 2**22
_MOST_APART = 8
_CALL = 100
"""Tokens that could be read in the time that a call of its own takes."""


class Cache:
    """What several answers keep of the tokens they have read; row i belongs to answer i."""

    def __init__(self) -> None:
        self.lengths: list[int] = []
        """Tokens that each row holds."""
        self.rows, self.room = 1, _FIRST_ROOM
        """Rows, and tokens of each, that there is space for."""
        self._layers: dict[int, Tensor] = {}
        """Keys and values of each layer: (2, rows, G, room, D)."""

    def make_room(self, rows: int, length: int) -> None:
        """Grow by doubling, so that a token is copied a constant number of times."""
        if rows <= self.rows and length <= self.room:
            return
        self.rows = self.rows if rows <= self.rows else max(rows, 2 * self.rows)
        # A power of two, so that a long prompt has room for its answer too.
        self.room = self.room if length <= self.room else 1 << (length - 1).bit_length()
        self._layers = {layer: self._grown(states) for layer, states in self._layers.items()}

    def _grown(self, states: Tensor) -> Tensor:
        _, rows, heads, room, width = states.shape
        grown = _zeros((2, self.rows, heads, self.room, width), states)
        grown[:, :rows, :, :room] = states
        return grown

    def layer(self, number: int, like: Tensor) -> Tensor:
        """Keys and values of one layer, made when first asked for, for heads (T, G, D) like the given ones."""
        if number not in self._layers:
            self._layers[number] = _zeros((2, self.rows, like.shape[1], self.room, like.shape[2]), like)
        return self._layers[number]

    def remove(self, row: int) -> None:
        """Forget an answer; the last one takes its row."""
        length = self.lengths.pop()
        last = len(self.lengths)
        if row == last:
            return
        for states in self._layers.values():
            states[:, row, :, :length] = states[:, last, :, :length]
        self.lengths[row] = length


def _zeros(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Zeros, since what a row may not see is multiplied by zero, and zero times not-a-number is not zero.

    On Linux a large one is left to the system, which makes each page when it is used: one long row among short ones
    would otherwise hold everybody up while room is made for all.
    """
    size = prod(shape) * like.element_size()
    if like.device.type != "cpu" or size < _LARGE or not hasattr(mmap, "MADV_NOHUGEPAGE"):
        return like.new_zeros(shape)
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    pages.madvise(mmap.MADV_NOHUGEPAGE)
    return torch.frombuffer(pages, dtype=like.dtype).view(shape)


def _apart(lengths: Sequence[int]) -> tuple[list[int], int]:
    """Rows that are so long that they are better read alone, and the longest of the others.

    What is read together is read as far as the longest of it goes.
    """
    ranked = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    alone, best = 0, float("inf")
    for count in range(min(len(lengths), _MOST_APART + 1)):
        read = len(lengths) * lengths[ranked[count]] + sum(lengths[row] + _CALL for row in ranked[:count])
        if read < best:
            alone, best = count, read
    return ranked[:alone], lengths[ranked[alone]]


class CachedAttention:
    """Attention of a pass in which every row reads on: old rows their one new token, new rows their whole prompt."""

    def __init__(
        self, cache: Cache, counts: Sequence[int], device: torch.device, new: Sequence[SharedPrefix | None] = ()
    ) -> None:
        """`counts` are the tokens that each row reads; the last rows are new, each behind its prefix or none."""
        self._cache = cache
        self._rows = len(counts) - len(new)
        """How many are old."""
        self._new = new
        self._packed = _attention_of_new(new, counts[self._rows :]) if new else None
        old = [length + 1 for length in cache.lengths[: self._rows]]
        on_cpu = device.type == "cpu"
        apart, self._longest = _apart(old) if on_cpu and old else ([], max(old, default=1))
        self._apart = {row: old[row] for row in apart}
        """Tokens of rows that are read alone; `_longest` is that of the others."""
        self._even = min(old, default=1) == self._longest
        ends = [length + count for length, count in zip(cache.lengths, counts, strict=True)]
        cache.make_room(len(counts), max(ends))
        places = [range(begin, end) for begin, end in zip(cache.lengths, ends, strict=True)]
        self.positions = torch.tensor([place for of_row in places for place in of_row], device=device)
        """(T,)"""
        self._tokens = [(row, place) for row, of_row in enumerate(places) for place in of_row]
        self._places: dict[int, Tensor] = {}
        self._masks: dict[int | None, Tensor | None] = {}

    def __call__(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float | None, window: int | None
    ) -> Tensor:
        states = self._cache.layer(layer, key)
        for row, prefix in enumerate(self._new, start=self._rows):
            if prefix:
                states[:, row, :, : prefix.length] = prefix.layers[layer].transpose(1, 2)
        new = torch.stack((key, value))
        states.view(-1, key.shape[2]).index_copy_(0, self._places_of(key.shape[1]), new.view(-1, key.shape[2]))
        if not self._packed:
            return self._read(query, states, scale, window)
        old, new = slice(None, self._rows), slice(self._rows, None)
        mixed = self._packed(layer, query[new], key[new], value[new], scale, window)
        return torch.cat([self._read(query[old], states, scale, window), mixed]) if self._rows else mixed

    def _places_of(self, heads: int) -> Tensor:
        """(2 * T * G,) where the keys, and then the values, of the new tokens are kept."""
        if heads not in self._places:
            rows, room = self._cache.rows, self._cache.room
            places = [
                ((part * rows + row) * heads + head) * room + place
                for part in range(2)
                for row, place in self._tokens
                for head in range(heads)
            ]
            self._places[heads] = torch.tensor(places, device=self.positions.device)
        return self._places[heads]

    def _read(self, query: Tensor, states: Tensor, scale: float | None, window: int | None) -> Tensor:
        """One token of every old row (rows, H, D), over all that its row holds."""
        mixed = self._read_together(query, states, scale, window)
        for row, length in self._apart.items():
            seen = slice(0 if window is None else max(0, length - window), length)
            keys, values = states[:, row, None, :, seen].unbind()
            grouped = query[row].reshape(1, keys.shape[1], -1, query.shape[2])
            mixed[row] = scaled_dot_product_attention(grouped, keys, values, scale=scale).view(mixed[row].shape)
        return mixed

    def _read_together(self, query: Tensor, states: Tensor, scale: float | None, window: int | None) -> Tensor:
        keys, values = states[:, : self._rows, :, : self._longest].unbind()
        # The heads that share a key stand where the tokens of a query would: grouping costs nothing.
        grouped = query.reshape(self._rows, keys.shape[1], -1, query.shape[2])
        mixed = scaled_dot_product_attention(grouped, keys, values, attn_mask=self._mask(window, query), scale=scale)
        return mixed.reshape(query.shape)

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


def _attention_of_new(prefixes: Sequence[SharedPrefix | None], counts: Sequence[int]) -> Attention:
    return AttentionAfterPrefix(prefixes, counts) if any(prefixes) else PackedAttention(counts)
