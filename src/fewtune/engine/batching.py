"""Examples side by side without padding: one long row of tokens, attention kept inside each example."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor

from fewtune.data.encode import Encoded
from fewtune.engine.devices import moved

TOKENS_AT_ONCE = 2048
"""Tokens of one pass when nothing is trained; enough rows to keep the matrix units busy."""
TOKENS_PER_PIECE = 256
"""Tokens that one worker takes of a training batch; more do not make a core faster, fewer slow it down."""


@dataclass(frozen=True, kw_only=True)
class Pack:
    """Several examples as one row of T tokens, P of which are targets; every length is counted in tokens."""

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
    answers: Tensor
    """(P,) bool: the target is trained, as answers and stops are; always on the CPU."""
    counts: tuple[int, ...]
    """Targets of each example, in order; they sum to P."""


def pack(examples: Sequence[Encoded], device: torch.device, *, prompts: bool = False) -> Pack:
    """Lay examples side by side; the targets are what is trained, and with `prompts` all other tokens too."""
    lengths = [len(example.ids) for example in examples]
    row = torch.tensor(list(chain.from_iterable(example.ids for example in examples)))
    # Over all examples at once: the time that this takes is time in which a GPU waits.
    length = torch.tensor(lengths)
    begins = length.cumsum(0) - length
    positions = torch.arange(len(row)) - begins.repeat_interleave(length)
    trained = positions >= torch.tensor([example.prompt_length for example in examples]).repeat_interleave(length)
    for number, example in enumerate(examples):
        for first, end in example.gaps:
            trained[int(begins[number]) + first : int(begins[number]) + end] = False
    targets = ((positions >= 1) if prompts else trained).nonzero()[:, 0]
    return Pack(
        rows=tuple(example.row for example in examples),
        lengths=tuple(lengths),
        ids=moved(row, device),
        positions=moved(positions, device),
        sources=moved(targets - 1, device),
        targets=moved(row[targets], device),
        answers=trained[targets],
        counts=tuple(len(example.ids) - 1 if prompts else example.trained_tokens for example in examples),
    )


def within_tokens(examples: Iterable[Encoded], limit: int = TOKENS_AT_ONCE) -> Iterator[list[Encoded]]:
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


def pieces(batch: Sequence[Encoded]) -> list[list[Encoded]]:
    """A batch cut for the workers, longest examples first into the piece that has least.

    A function of the batch alone: however many workers there are, and whoever else trains, the same
    sums are formed in the same order.
    """
    count = min(len(batch), piece_count(sum(len(example.ids) for example in batch)))
    parts: list[list[Encoded]] = [[] for _ in range(count)]
    sizes = [0] * count
    for example in sorted(batch, key=lambda example: -len(example.ids)):
        smallest = sizes.index(min(sizes))
        parts[smallest].append(example)
        sizes[smallest] += len(example.ids)
    return parts


def piece_count(tokens: int) -> int:
    """Pieces of a batch of so many tokens: an even number, or one core would wait for the other's odd one."""
    return 2 * max(1, round(tokens / (2 * TOKENS_PER_PIECE)))
