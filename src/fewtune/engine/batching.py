"""Examples side by side without padding: one long row of tokens, attention kept inside each example."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

from fewtune.data.encode import Encoded
from fewtune.errors import BaseModelError

ATTENTION = "fewtune_packed"
"""Name under which transformers finds the attention below."""


@dataclass(frozen=True, kw_only=True)
class Pack:
    """Several examples as one row of T tokens; every length is counted in tokens."""

    rows: tuple[int, ...]
    lengths: tuple[int, ...]
    ids: Tensor
    """(T,)"""
    positions: Tensor
    """(T,) position of each token within its example."""
    sources: Tensor
    """(P,) where in the row the hidden state stands that predicts each target."""
    targets: Tensor
    """(P,) the token to be predicted."""
    weights: Tensor
    """(P,) 1 for the answer and its stop, the prompt loss weight for the prompt."""
    counts: tuple[int, ...]
    """Targets of each example, in order; they sum to P."""
    trained: Tensor
    """(P,) bool: the target belongs to the answer or its stop."""


def pack(examples: Sequence[Encoded], device: torch.device, prompt_loss_weight: float = 0.0) -> Pack:
    """Lay examples side by side; without a prompt loss weight only answers and stops are targets."""
    ids: list[int] = []
    positions: list[int] = []
    sources: list[int] = []
    weights: list[float] = []
    trained: list[bool] = []
    counts: list[int] = []
    for example in examples:
        begin, length = len(ids), len(example.ids)
        first = 1 if prompt_loss_weight else example.prompt_length
        ids.extend(example.ids)
        positions.extend(range(length))
        sources.extend(range(begin + first - 1, begin + length - 1))
        answer = [place >= example.prompt_length for place in range(first, length)]
        trained.extend(answer)
        weights.extend(1.0 if inside else prompt_loss_weight for inside in answer)
        counts.append(length - first)
    row = torch.tensor(ids, device=device)
    places = torch.tensor(sources, device=device)
    return Pack(
        rows=tuple(example.row for example in examples),
        lengths=tuple(len(example.ids) for example in examples),
        ids=row,
        positions=torch.tensor(positions, device=device),
        sources=places,
        targets=row[places + 1],
        weights=torch.tensor(weights, device=device),
        counts=tuple(counts),
        trained=torch.tensor(trained, device=device),
    )


def hidden_states(body: Any, packed: Pack) -> Tensor:
    """(P, D): the last hidden state at each source position of the pack."""
    output = body(
        input_ids=packed.ids[None],
        position_ids=packed.positions[None],
        # A 4-D mask is passed through untouched; the packed attention below needs none.
        attention_mask=packed.ids.new_zeros((1, 1, 1, 1)),
        use_cache=False,
        packed_lengths=packed.lengths,
    )
    return output.last_hidden_state[0].index_select(0, packed.sources)


def within_tokens(examples: Iterable[Encoded], limit: int) -> Iterator[list[Encoded]]:
    """Cut a stream of examples into groups of at most `limit` tokens each, a longer example alone."""
    group: list[Encoded] = []
    size = 0
    for example in examples:
        if group and size + len(example.ids) > limit:
            yield group
            group, size = [], 0
        group.append(example)
        size += len(example.ids)
    if group:
        yield group


def _packed_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    packed_lengths: tuple[int, ...] | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Causal attention inside each example; query, key and value are (1, heads, T, head size).

    Without `packed_lengths` (decoding with a cache) it is transformers' own attention.
    """
    if kwargs.get("softcap") is not None or kwargs.get("s_aux") is not None:
        raise BaseModelError("The base's attention has a soft cap or sinks, which are not supported.")
    if packed_lengths is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    grouped = query.shape[1] != key.shape[1]
    window = kwargs.get("sliding_window")
    splits = [states.split(packed_lengths, dim=2) for states in (query, key, value)]
    outputs: list[Tensor] = []
    for part in zip(*splits, strict=True):
        mask = _window_mask(part[0], window)
        outputs.append(
            scaled_dot_product_attention(
                *part, attn_mask=mask, is_causal=mask is None, scale=scaling, enable_gqa=grouped
            )
        )
    return torch.cat(outputs, dim=2).transpose(1, 2), None


def _window_mask(query: Tensor, window: int | None) -> Tensor | None:
    """(T, T) mask of a sliding window, or None where the window covers the whole example."""
    length = query.shape[2]
    if window is None or length <= window:
        return None
    place = torch.arange(length, device=query.device)
    distance = place[:, None] - place[None]
    return (distance >= 0) & (distance < window)


AttentionInterface.register(ATTENTION, _packed_attention)
ALL_MASK_ATTENTION_FUNCTIONS.register(ATTENTION, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])
