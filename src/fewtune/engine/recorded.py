"""Passes through the blocks that are recorded once as CUDA graphs and replayed: the host asks once, not 2,000 times.

A recording is of one size, with every tensor at a fixed place in memory. So a pass is filled up to a size of few
with tokens of nobody: they form an example of their own, go through no adapter, and have no gradient.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from fewtune.engine.attention import PackedAttention
from fewtune.engine.batching import Pack
from fewtune.engine.body import Body
from fewtune.engine.devices import moved
from fewtune.engine.lora import Adapter
from fewtune.engine.routing import joined, routing_of, trainable

_SMALLEST_STEP, _STEPS_TO_DOUBLE = 64, 16
"""Tokens between two sizes, and sizes until the tokens have doubled: fillers are some 2 percent."""
_SHORTEST = 512
"""That attention is told of as the longest example, so that fewer sizes differ; what is not there takes no time."""
_MOST = 16
"""Recordings kept at a time."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """What of a pass cannot change between replays."""

    tokens: int
    """With the fillers."""
    examples: int
    """Without theirs."""
    longest: int
    """No example has more tokens, the fillers' neither."""


def size_of(lengths: Sequence[int]) -> Size:
    """The size of examples of so many tokens."""
    real = sum(lengths)
    step = max(_SMALLEST_STEP, (1 << real.bit_length()) // 2 // _STEPS_TO_DOUBLE)
    # One filler at least, or their example would be empty.
    tokens = (real // step + 1) * step
    longest = max(*lengths, tokens - real, _SHORTEST)
    return Size(tokens=tokens, examples=len(lengths), longest=1 << (longest - 1).bit_length())


@dataclass(kw_only=True)
class Recordings:
    """Those of one number of adapters and one rank; with others everything begins anew.

    All of them share the memory between their first and their last tensor, since one runs at a time. Memory that was
    laid out for smaller passes serves no larger one. So when one is recorded that is larger than all, and memory is
    short, the others are forgotten.
    """

    off: bool = False
    """After a failure passes are no longer recorded."""
    _common: _Common | None = None
    _pool: Any = None
    _passes: dict[Size, RecordedPass] = field(default_factory=dict[Size, "RecordedPass"])
    _seen: set[Size] = field(default_factory=set[Size])

    def find(self, body: Body, like: Adapter, count: int, lengths: Sequence[int]) -> RecordedPass:
        """The pass for examples of so many tokens through `count` adapters laid out like the given one.

        It is computed as it stands when it is first asked for, which also brings up all that a recording must not
        wait for; from the second time on it is recorded.
        """
        if self._common is None or not self._common.serves(like, count):
            self._forget()
            self._common = _Common(body, like, count)
        size = size_of(lengths)
        found = self._passes.get(size) or RecordedPass(body, self._common, size)
        if size in self._seen and not found.recorded and not self.off:
            self._record(found)
        self._seen.add(size)
        return found

    @property
    def sizes(self) -> list[Size]:
        """Of what is recorded, the oldest first."""
        return list(self._passes)

    def _record(self, wanted: RecordedPass) -> None:
        largest = max((size.tokens for size in self._passes), default=0)
        if len(self._passes) >= _MOST or (largest < wanted.size.tokens and _memory_is_short()):
            self._passes.clear()
        if not self._passes:
            # Memory whose last recording is gone is given back, and cannot be used again under its old name.
            self._pool = torch.cuda.graph_pool_handle()
        try:
            wanted.record(self._pool)
        except RuntimeError as error:
            self.off = True
            warnings.warn(f"Training is slower than it could be: its passes are not recorded ({error}).", stacklevel=2)
        else:
            self._passes[wanted.size] = wanted

    def give_up(self) -> bool:
        """Record no more and give the memory back; false where there is none."""
        had = bool(self._passes)
        self.off = True
        self._forget()
        torch.cuda.empty_cache()
        return had

    def _forget(self) -> None:
        self._common, self._passes, self._seen = None, {}, set()


def _memory_is_short() -> bool:
    """Whether less than half of the device's memory is free for others."""
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info()
    return free < total / 2


class _Common:
    """What all recordings of some adapters share."""

    def __init__(self, body: Body, like: Adapter, count: int) -> None:
        self.like = Adapter(groups=like.groups, rank=like.rank, alpha=like.rank, flat=like.flat[:0])
        self.flat = torch.empty(count, len(like.flat), dtype=body.dtype, device=body.head.device)
        """(K, N) the adapters of the pass, in the base's dtype."""
        self.found = torch.empty_like(self.flat)
        """(K, N) their gradient."""

    def serves(self, like: Adapter, count: int) -> bool:
        return (self.like.rank, self.flat.shape) == (like.rank, (count, len(like.flat)))


class RecordedPass:
    """One pass through all blocks, and back; to be used in turn with none other in between."""

    def __init__(self, body: Body, common: _Common, size: Size) -> None:
        self.size = size
        self._body, self._common = body, common
        device, tokens = common.flat.device, size.tokens
        self._ids, self._positions = (torch.zeros(tokens, dtype=torch.int64, device=device) for _ in range(2))
        self._bounds = torch.zeros(size.examples + 2, dtype=torch.int32, device=device)
        self._scale = torch.zeros(tokens, len(common.flat), device=device)
        self._slopes = torch.zeros(tokens, body.width, dtype=common.flat.dtype, device=device)
        self._lengths: tuple[int, ...] = ()
        self._sources = self._ids
        self._states: Tensor | None = None
        self._leaves: list[Tensor] = []
        self._graphs: tuple[torch.cuda.CUDAGraph, torch.cuda.CUDAGraph] | None = None

    @property
    def recorded(self) -> bool:
        return self._graphs is not None

    def forward(self, weights: Tensor, packed: Pack, scale: float | Tensor) -> Tensor:
        """Last hidden states (P, D) of the pack's sources, with the weights (K, N) and the scale of `Routing`."""
        self._fill(weights, packed, scale)
        if self._graphs:
            self._graphs[0].replay()
        else:
            self._run()
        assert self._states is not None
        return self._states.detach().index_select(0, packed.sources)

    def backward(self, slopes: Tensor) -> Tensor:
        """The gradient (K, N) of the weights, from that of what `forward` gave."""
        self._slopes.zero_().index_copy_(0, self._sources, slopes)
        if self._graphs:
            self._graphs[1].replay()
        else:
            self._run_back()
        return self._common.found.float()

    def record(self, pool: Any) -> None:
        """Into the given memory; raises RuntimeError where that cannot be done."""
        self._states, self._leaves = None, []
        forward, backward = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        with torch.cuda.graph(forward, pool=pool):
            self._run()
        with torch.cuda.graph(backward, pool=pool):
            self._run_back()
        self._graphs = forward, backward

    def _fill(self, weights: Tensor, packed: Pack, scale: float | Tensor) -> None:
        real = len(packed.ids)
        self._lengths = *packed.lengths, self.size.tokens - real
        self._common.flat.copy_(weights)
        self._ids[:real].copy_(packed.ids)
        self._positions[:real].copy_(packed.positions)
        self._bounds.copy_(moved(torch.tensor([0, *self._lengths]).cumsum(0, dtype=torch.int32), self._bounds.device))
        self._scale[real:].zero_()
        if isinstance(scale, Tensor):
            self._scale[:real].copy_(scale)
        else:
            self._scale[:real].fill_(scale)
        self._sources = packed.sources

    def _run(self) -> None:
        common = self._common
        routing = trainable(routing_of(common.flat, common.like, self._scale))
        attention = PackedAttention(self._lengths, bounds=self._bounds, longest=self.size.longest)
        self._states = self._body.states(self._ids, self._positions, attention, routing)
        self._leaves = [matrix for matrices in routing.matrices.values() for matrix in matrices]

    def _run_back(self) -> None:
        """Afterwards nothing is kept of the way here; in a recording the states stand where they stood."""
        assert self._states is not None
        found = torch.autograd.grad(self._states, self._leaves, self._slopes)
        self._common.found.copy_(joined(found, self._common.like.groups, len(self._common.flat)))
        self._states, self._leaves = self._states.detach(), []
