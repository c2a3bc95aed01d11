"""Cached decoding: several prompts at once, token by token."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from fewtune.engine.base_model import BaseModel
from fewtune.engine.lora import Adapter, in_use

ROWS_AT_ONCE = 32


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """One continuation to be written."""

    id: int
    ids: tuple[int, ...]
    max_tokens: int
    temperature: float = 0.0
    """0 takes the most likely token; above it the distribution is sharpened or flattened."""
    seed: int = 0
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Text that will not change any more."""

    id: int
    text: str


@dataclass(frozen=True, kw_only=True)
class Continuation:
    id: int
    text: str
    tokens: int
    stop_reason: Literal["stop", "length"]
    seconds: float


@dataclass(kw_only=True)
class _Writing:
    """One answer on its way."""

    prompt: Prompt
    limit: int
    """Tokens that may still be written within the context."""
    generator: torch.Generator
    ids: list[int] = field(default_factory=list[int])
    shown: int = 0
    """Characters already handed out."""
    end: Literal["stop", "length"] | None = None
    text: str = ""


def generate(
    base: BaseModel, prompts: Sequence[Prompt], adapter: Adapter | None = None
) -> Iterator[Piece | Continuation]:
    """Continue the prompts, shortest first, a batch at a time; every prompt ends in one Continuation.

    Between two pieces the base is free: others may train or sample with another adapter.
    """
    ordered = sorted(prompts, key=lambda prompt: len(prompt.ids))
    for begin in range(0, len(ordered), ROWS_AT_ONCE):
        yield from _generate_batch(base, ordered[begin : begin + ROWS_AT_ONCE], adapter)


def _generate_batch(
    base: BaseModel, prompts: Sequence[Prompt], adapter: Adapter | None
) -> Iterator[Piece | Continuation]:
    from transformers import DynamicCache

    started = time.perf_counter()
    writings = [_writing(base, prompt) for prompt in prompts]
    ids, mask = _left_padded(prompts, base)
    positions = (mask.cumsum(dim=-1) - 1).clamp(min=0)
    cache = DynamicCache(config=base.model.config)
    while True:
        with in_use(base, adapter):
            logits = _next_logits(base, ids, mask, positions, cache)
        chosen = [_choose(row, writing) for row, writing in zip(logits, writings, strict=True)]
        for token, writing in zip(chosen, writings, strict=True):
            if writing.end is None:
                yield from _extend(base, writing, token, started)
        keep = [place for place, writing in enumerate(writings) if writing.end is None]
        if not keep:
            return
        if len(keep) < len(writings):
            cache.batch_select_indices(torch.tensor(keep, device=base.device))
            writings, mask, positions = [writings[place] for place in keep], mask[keep], positions[keep]
            chosen = [chosen[place] for place in keep]
        ids = torch.tensor(chosen, device=base.device)[:, None]
        mask = torch.cat([mask, mask.new_ones((len(keep), 1))], dim=1)
        positions = positions[:, -1:] + 1


def _writing(base: BaseModel, prompt: Prompt) -> _Writing:
    room = base.encoder.context - len(prompt.ids)
    generator = torch.Generator().manual_seed(prompt.seed)
    return _Writing(prompt=prompt, limit=min(prompt.max_tokens, room), generator=generator)


def _left_padded(prompts: Sequence[Prompt], base: BaseModel) -> tuple[Tensor, Tensor]:
    """Ids and mask, both (B, T); padding stands on the left, so that all rows end together."""
    width = max(len(prompt.ids) for prompt in prompts)
    ids = [[base.encoder.end_id] * (width - len(prompt.ids)) + list(prompt.ids) for prompt in prompts]
    mask = [[0] * (width - len(prompt.ids)) + [1] * len(prompt.ids) for prompt in prompts]
    return torch.tensor(ids, device=base.device), torch.tensor(mask, device=base.device)


@torch.inference_mode()
def _next_logits(base: BaseModel, ids: Tensor, mask: Tensor, positions: Tensor, cache: Any) -> Tensor:
    """(B, V) logits of the next token; the cache grows by the tokens read."""
    output = base.body(
        input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
    )
    return base.logits(output.last_hidden_state[:, -1])


def _choose(logits: Tensor, writing: _Writing) -> int:
    temperature = writing.prompt.temperature
    if temperature <= 0:
        return int(logits.argmax())
    shares = torch.softmax(logits.cpu() / temperature, dim=-1)
    return int(torch.multinomial(shares, 1, generator=writing.generator))


def _extend(base: BaseModel, writing: _Writing, token: int, started: float) -> Iterator[Piece | Continuation]:
    """Add a token to an answer; hand out the text that can no longer become part of a stop sequence."""
    if token == base.encoder.end_id or writing.limit <= 0:
        writing.end = "stop" if token == base.encoder.end_id else "length"
    else:
        writing.ids.append(token)
        writing.text = base.encoder.answer(writing.ids)
        _look_for_stop(writing)
        if writing.end is None and len(writing.ids) >= writing.limit:
            writing.end = "length"
    settled = writing.text if writing.end else _settled(writing.text, writing.prompt.stop)
    if len(settled) > writing.shown:
        yield Piece(id=writing.prompt.id, text=settled[writing.shown :])
        writing.shown = len(settled)
    if writing.end:
        yield Continuation(
            id=writing.prompt.id,
            text=writing.text,
            tokens=len(writing.ids),
            stop_reason=writing.end,
            seconds=time.perf_counter() - started,
        )


def _look_for_stop(writing: _Writing) -> None:
    places = [writing.text.find(stop) for stop in writing.prompt.stop]
    found = [place for place in places if place >= 0]
    if found:
        writing.text, writing.end = writing.text[: min(found)], "stop"


def _settled(text: str, stops: tuple[str, ...]) -> str:
    """The part of the text that later tokens cannot change: no half character, no half stop sequence."""
    text = text.rstrip("\N{REPLACEMENT CHARACTER}")
    return text[: len(text) - max((_begun(text, stop) for stop in stops), default=0)]


def _begun(text: str, stop: str) -> int:
    """How many characters at the end of the text may be the beginning of the stop sequence."""
    lengths = range(min(len(stop) - 1, len(text)), 0, -1)
    return next((length for length in lengths if text.endswith(stop[:length])), 0)
