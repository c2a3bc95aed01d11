"""One step of decoding over several answers, each through its own adapter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

import torch
from torch import Tensor

from fewtune.engine.base_model import BaseModel
from fewtune.engine.cache import Cache, CachedAttention
from fewtune.engine.lora import Adapter
from fewtune.engine.routing import Routing, route
from fewtune.engine.shared_prefix import SharedPrefix


class Decoder:
    """What is kept of the answers that are being written, in rows; any may join or leave between two steps."""

    def __init__(self, base: BaseModel) -> None:
        self._base = base
        self._cache = Cache()
        self._adapters: list[Adapter | None] = []
        self._new: list[SharedPrefix | None] = []
        """Of the last rows, which have read nothing yet but this."""
        self._routes = _Routes(base.dtype)

    def join(self, adapter: Adapter | None, prefix: SharedPrefix | None = None) -> None:
        """Begin an answer, in the row after the last; a prefix, read through this adapter, stands before its tokens."""
        self._adapters.append(adapter)
        self._new.append(prefix)
        self._cache.lengths.append(prefix.length if prefix else 0)

    @torch.inference_mode()
    def leave(self, row: int) -> None:
        """Forget an answer; the last one takes its row."""
        self._cache.remove(row)
        last = self._adapters.pop()
        if row < len(self._adapters):
            self._adapters[row] = last

    @torch.inference_mode()
    def step(self, tokens: Sequence[Sequence[int]]) -> Tensor:
        """Read every row's next tokens, a whole prompt or the one chosen last; (rows, V) logits of what follows."""
        counts = [len(of_row) for of_row in tokens]
        attention = CachedAttention(self._cache, counts, self._base.device, tuple(self._new))
        self._new = []
        ids = torch.tensor([token for of_row in tokens for token in of_row], device=self._base.device)
        ends = [end - 1 for end in accumulate(counts)]
        select = torch.tensor(ends, device=ids.device) if len(ids) > len(ends) else None
        routing = self._routes.through(self._adapters, counts)
        hidden = self._base.body.states(ids, attention.positions, attention, routing, select=select)
        self._cache.lengths = [length + count for length, count in zip(self._cache.lengths, counts, strict=True)]
        return self._base.logits(hidden)


class _Routes:
    """Keeps adapters side by side, which is expensive to arrange, for as long as the same ones are used."""

    def __init__(self, dtype: torch.dtype) -> None:
        self._dtype = dtype
        self._slots: dict[int, int] = {}
        """By the adapter's identity."""
        self._adapters: list[Adapter | None] = []
        self._routing: Routing | None = None
        """One token for each slot."""

    def through(self, adapters: Sequence[Adapter | None], counts: Sequence[int]) -> Routing | None:
        """Send each row's tokens through its adapter."""
        distinct = {id(adapter): adapter for adapter in adapters}
        if distinct.keys() != self._slots.keys():
            self._adapters = list(distinct.values())
            self._slots = {identity: slot for slot, identity in enumerate(distinct)}
            self._routing = _joined(route(self._adapters, [1] * len(distinct), self._dtype))
        if self._routing is None or not isinstance(self._routing.scale, Tensor):
            return self._routing
        slots = [self._slots[id(a)] for a, count in zip(adapters, counts, strict=True) for _ in range(count)]
        scale = self._routing.scale
        return replace(self._routing, scale=scale[torch.tensor(slots, device=scale.device)])


def _joined(routing: Routing | None) -> Routing | None:
    """The sites of a group as one, its B's along a diagonal: fewer, larger products are faster here."""
    if routing is None:
        return None
    return replace(
        routing, matrices={group: (a, torch.block_diag(*bs)) for group, (a, *bs) in routing.matrices.items()}
    )
