"""Which token comes next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

import torch
from torch import Tensor

_CANDIDATES = 64
"""Tokens among which a nucleus is looked for first: sorting a whole vocabulary takes as long as a step."""


@dataclass(frozen=True, kw_only=True)
class Chooser:
    """How one answer chooses its tokens; what it draws depends on no other."""

    temperature: float = 0.0
    """0 takes the most likely token; above it the distribution is sharpened or flattened."""
    top_p: float = 1.0
    """Draw from the fewest most likely tokens that hold this share, the nucleus (Holtzman et al., 2020)."""
    alternatives: int | None = None
    """How many of the most likely tokens to tell beside the chosen one's log-likelihood; None: not even that."""
    random: Random = field(default_factory=Random)


@dataclass(frozen=True, kw_only=True)
class Choice:
    token: int
    log_likelihood: float | None = None
    """Nats, of the model itself: before temperature, nucleus and mask."""
    alternatives: tuple[tuple[int, float], ...] = ()
    """The most likely tokens with their log-likelihoods, best first; the chosen one may be among them."""


def choose(logits: Tensor, choosers: Sequence[Chooser], masks: Mapping[int, Tensor] | None = None) -> list[Choice]:
    """A token for each row of logits (R, V); the masks (V,) of some rows say which tokens may be taken."""
    allowed = _allowed(logits, masks) if masks else logits
    tokens: list[int] = allowed.argmax(dim=1).tolist()
    drawing = {row: chooser for row, chooser in enumerate(choosers) if chooser.temperature > 0}
    for row, token in (_drawn(allowed, drawing) if drawing else {}).items():
        tokens[row] = token
    telling = {row: chooser.alternatives for row, chooser in enumerate(choosers) if chooser.alternatives is not None}
    told = _told(logits, tokens, telling) if telling else {}
    return [told.get(row) or Choice(token=token) for row, token in enumerate(tokens)]


def _allowed(logits: Tensor, masks: Mapping[int, Tensor]) -> Tensor:
    """A copy: what is told of a choice is the model's own likelihood."""
    allowed = logits.clone()
    rows = torch.tensor(list(masks), device=logits.device)
    forbidden = ~torch.stack(list(masks.values())).to(logits.device)
    allowed[rows] = allowed[rows].masked_fill(forbidden, -torch.inf)
    return allowed


def _drawn(logits: Tensor, choosers: Mapping[int, Chooser]) -> dict[int, int]:
    """A random token for each of some rows."""
    drawn: dict[int, int] = {}
    for cut in (False, True):
        some = {row: chooser for row, chooser in choosers.items() if (chooser.top_p < 1) == cut}
        if some:
            drawn |= zip(some, _draw(logits[list(some)], list(some.values()), cut), strict=True)
    return drawn


def _draw(logits: Tensor, choosers: Sequence[Chooser], cut: bool) -> list[int]:
    temperatures, points = (
        logits.new_tensor(values)[:, None]
        for values in ([one.temperature for one in choosers], [one.random.random() for one in choosers])
    )
    shares = (logits / temperatures).softmax(dim=1)
    if not cut:
        return _place_of(points, shares).tolist()
    likeliest, tokens = nucleus(shares, logits.new_tensor([one.top_p for one in choosers])[:, None])
    return tokens.gather(1, _place_of(points, likeliest)[:, None])[:, 0].tolist()


def nucleus(shares: Tensor, top_p: Tensor) -> tuple[Tensor, Tensor]:
    """The largest shares of each row (R, K), zero outside its nucleus, and the tokens they belong to.

    Shares are (R, V); top_p is (R, 1) and keeps at least the most likely token.
    """
    size = min(_CANDIDATES, shares.shape[1])
    likeliest, tokens = shares.topk(size)
    while size < shares.shape[1] and bool((likeliest.sum(dim=1, keepdim=True) < top_p).any()):
        size = min(4 * size, shares.shape[1])
        likeliest, tokens = shares.topk(size)
    outside = likeliest.cumsum(dim=1) - likeliest >= top_p
    outside[:, 0] = False
    return likeliest.masked_fill_(outside, 0), tokens


def _place_of(points: Tensor, shares: Tensor) -> Tensor:
    """(R,) the place in each row (R, K) where its cumulated shares pass a point (R, 1) between 0 and 1."""
    reached = shares.cumsum(dim=1)
    whole = reached[:, -1:].clone()
    # Rounding may carry a point to the very end: then it is the last that has a share.
    last = torch.searchsorted(reached, whole)
    return torch.searchsorted(reached, points * whole, right=True).minimum(last)[:, 0]


def _told(logits: Tensor, tokens: Sequence[int], counts: Mapping[int, int]) -> dict[int, Choice]:
    """The choices of some rows with their log-likelihoods and as many alternatives as each asks for."""
    rows = list(counts)
    table = logits[rows].log_softmax(dim=1)
    own = table.gather(1, torch.tensor([[tokens[row]] for row in rows], device=table.device))[:, 0].tolist()
    best = table.topk(min(max(counts.values()), table.shape[1]))
    told: dict[int, Choice] = {}
    for row, chosen, values, others in zip(rows, own, best.values.tolist(), best.indices.tolist(), strict=True):
        alternatives = tuple(zip(others, values, strict=True))[: counts[row]]
        told[row] = Choice(token=tokens[row], log_likelihood=chosen, alternatives=alternatives)
    return told
