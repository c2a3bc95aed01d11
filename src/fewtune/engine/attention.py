"""Attention over tokens laid side by side: each example, or each answer being written, sees only itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from fewtune.engine.devices import moved


class Attention(Protocol):
    def __call__(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float | None, window: int | None
    ) -> Tensor:
        """Query (T, H, D), key and value (T, G, D) with G dividing H, to (T, H, D).

        A window of w lets a token see itself and the w - 1 before it.
        """
        ...


class PackedAttention:
    """Causal attention inside each of several examples."""

    def __init__(self, lengths: Sequence[int], bounds: Tensor | None = None, longest: int | None = None) -> None:
        """Bounds and a longest length are given where they are to outlast these lengths, in a recording."""
        self._lengths = tuple(lengths)
        self._bounds = bounds
        """(examples + 1,) where each example begins, and where the last one ends; on the device."""
        self._longest = longest or max(lengths)

    def __call__(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float | None, window: int | None
    ) -> Tensor:
        if query.is_cuda and query.dtype != torch.float32:
            return self._on_cuda(query, key, value, scale, window)
        queries, keys, values = (states.split(self._lengths) for states in (query, key, value))
        return torch.cat([_causal(*part, scale, window) for part in zip(queries, keys, values, strict=True)])

    def _on_cuda(self, query: Tensor, key: Tensor, value: Tensor, scale: float | None, window: int | None) -> Tensor:
        """One kernel for all examples, whatever their lengths, which itself knows of shared keys.

        `varlen_attn` of torch.nn.attention does no more, but in Python: its bookkeeping takes longer than the kernel.
        """
        if self._bounds is None:
            self._bounds = moved(torch.tensor([0, *self._lengths]).cumsum(0, dtype=torch.int32), query.device)
        bounds, longest = (self._bounds,) * 2, (self._longest,) * 2
        sight: dict[str, int] = {} if window is None else {"window_size_left": window - 1, "window_size_right": 0}
        forward = torch.ops.aten._flash_attention_forward
        mixed = forward(query, key, value, *bounds, *longest, 0.0, window is None, False, scale=scale, **sight)[0]
        return mixed  # type: ignore[no-any-return]


def _causal(query: Tensor, key: Tensor, value: Tensor, scale: float | None, window: int | None) -> Tensor:
    """One example: (T, heads, D), in and out."""
    mask = _window_mask(len(query), window, query.device)
    states = [part.transpose(0, 1)[None] for part in (query, key, value)]
    grouped = query.shape[1] != key.shape[1]
    mixed = scaled_dot_product_attention(
        *states, attn_mask=mask, is_causal=mask is None, scale=scale, enable_gqa=grouped
    )
    return mixed[0].transpose(0, 1)


def _window_mask(length: int, window: int | None, device: torch.device) -> Tensor | None:
    """(T, T) mask of a sliding window, or None where the window covers the whole example."""
    if window is None or length <= window:
        return None
    place = torch.arange(length, device=device)
    distance = place[:, None] - place[None]
    return (distance >= 0) & (distance < window)
