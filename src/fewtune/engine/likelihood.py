"""How likely a base, with or without an adapter, finds given answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from fewtune.data.encode import Encoded
from fewtune.engine.base_model import BaseModel
from fewtune.engine.batching import Pack, hidden_states, pack, within_tokens

TOKENS_AT_ONCE = 2048
"""Tokens of one forward pass when nothing is trained; enough rows to keep the matrix units busy."""


@dataclass(frozen=True, kw_only=True)
class Likelihood:
    """One answer and its stop, token by token."""

    row: int
    log_likelihoods: tuple[float, ...]
    """Nats."""
    greedy: tuple[bool, ...]
    """Whether the token was the most likely one."""


def token_losses(base: BaseModel, packed: Pack) -> tuple[Tensor, Tensor]:
    """Negative log-likelihood (P,) in nats of each target, and whether it was the most likely token (P,)."""
    logits = base.logits(hidden_states(base.body, packed))  # (P, V)
    losses = cross_entropy(logits, packed.targets, reduction="none")
    return losses, logits.argmax(dim=-1) == packed.targets


@torch.inference_mode()
def measure(base: BaseModel, examples: Sequence[Encoded]) -> list[Likelihood]:
    """The likelihood of each example's answer, in the order given, with the adapter that is in use."""
    measured: list[Likelihood] = []
    for group in within_tokens(examples, TOKENS_AT_ONCE):
        packed = pack(group, base.device)
        losses, greedy = token_losses(base, packed)
        parts = zip(packed.rows, losses.split(packed.counts), greedy.split(packed.counts), strict=True)
        for row, loss, most_likely in parts:
            measured.append(
                Likelihood(row=row, log_likelihoods=tuple((-loss).tolist()), greedy=tuple(most_likely.tolist()))
            )
    return measured
