"""How likely a base, with or without adapters, finds given answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import torch

from fewtune.data.encode import Encoded
from fewtune.engine.attention import Attention, PackedAttention
from fewtune.engine.base_model import BaseModel
from fewtune.engine.batching import TOKENS_AT_ONCE, pack
from fewtune.engine.head import target_losses
from fewtune.engine.lora import Adapter
from fewtune.engine.routing import route
from fewtune.engine.shared_prefix import AttentionAfterPrefix, read_prefix, shared_length


@dataclass(frozen=True, kw_only=True)
class Likelihood:
    """One answer and its stop, token by token."""

    row: int
    log_likelihoods: tuple[float, ...]
    """Nats."""
    greedy: tuple[bool, ...]
    """Whether the token was the most likely one."""


Item = tuple[Encoded, Adapter | None]
"""An example and the adapter through which it is seen; None is the bare base."""


def measure(base: BaseModel, examples: Sequence[Encoded], adapter: Adapter | None = None) -> list[Likelihood]:
    """The likelihood of each example's answer, in the order given."""
    return measure_each(base, [(example, adapter) for example in examples])


def measure_each(base: BaseModel, items: Sequence[Item]) -> list[Likelihood]:
    """The same, where every example may be seen through another adapter."""
    shared = _shared(items) if base.on_cpu else 0
    futures = [base.workers.submit(measure_pass, together, shared) for together in passes(base, items, shared)]
    return [likelihood for future in futures for likelihood in future.result()]


def passes(base: BaseModel, items: Sequence[Item], shared: int = 0) -> Iterator[list[Item]]:
    """Cut items into passes, keeping their order; on a CPU one pass has one adapter, so its sums are its own."""
    runs = groupby(items, key=lambda item: id(item[1])) if base.on_cpu else [(0, items)]
    for _, run in runs:
        group: list[Item] = []
        size = 0
        for example, adapter in run:
            length = len(example.ids) - shared
            if group and size + length > TOKENS_AT_ONCE:
                yield group
                group, size = [], 0
            group.append((example, adapter))
            size += length
        if group:
            yield group


@torch.inference_mode()
def measure_pass(base: BaseModel, items: Sequence[Item], shared: int = 0) -> list[Likelihood]:
    """The likelihoods of one pass's answers; `shared` first tokens are the same in all of them, and read once."""
    packed = pack([_after(example, shared) for example, _ in items], base.device)
    adapters = [adapter for _, adapter in items]
    routing = route(adapters, packed.lengths, base.dtype)
    attention: Attention = PackedAttention(packed.lengths)
    if shared:
        prefix = read_prefix(base, items[0][0].ids[:shared], adapters[0])
        attention = AttentionAfterPrefix([prefix] * len(items), packed.lengths)
    hidden = base.body.states(packed.ids, packed.positions + shared, attention, routing, select=packed.sources)
    losses, greedy = target_losses(hidden, base.body.head, base.body.head_bias, packed.targets)
    # In one piece, or the host would wait for the device at every row.
    losses, greedy = losses.cpu(), greedy.cpu()
    parts = zip(packed.rows, losses.split(packed.counts), greedy.split(packed.counts), strict=True)
    return [
        Likelihood(row=row, log_likelihoods=tuple((-loss).tolist()), greedy=tuple(most_likely.tolist()))
        for row, loss, most_likely in parts
    ]


def _shared(items: Sequence[Item]) -> int:
    """What all prompts begin with, up to the last token, which predicts the first of the answer."""
    if len({id(adapter) for _, adapter in items}) != 1:
        return 0
    return shared_length([example.ids[: example.prompt_length] for example, _ in items])


def _after(example: Encoded, shared: int) -> Encoded:
    gaps = tuple((begin - shared, end - shared) for begin, end in example.gaps)
    return replace(example, ids=example.ids[shared:], prompt_length=example.prompt_length - shared, gaps=gaps)
