"""How many tokens rows have: counted where they are few, estimated with an interval where they are many."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from fewtune.data.encode import Encoder
from fewtune.statistics import mean_interval
from fewtune.types import Example

_MOST_COUNTED = 20_000
_SAMPLE = 2_000


@dataclass(frozen=True, kw_only=True)
class Count:
    """Tokens of one pass; `low` to `high` is a 95 % interval, of width zero where all were counted."""

    value: int
    low: int
    high: int


@dataclass(frozen=True, kw_only=True)
class TokenCount:
    all: Count
    trained: Count
    """Answers and their stops."""
    counted_rows: int
    """Rows whose tokens were really counted."""


def count_tokens(examples: Sequence[Example], encoder: Encoder, seed: int = 0) -> TokenCount:
    """Tokens of one pass over rows that fit the base; above 20,000 rows from a random 2,000 of them.

    The estimate is tokens by byte in the sample times the bytes of all rows (a ratio estimate: Cochran, Sampling
    Techniques, 1977, section 6.2), its interval that of the mean of what each sampled row has more or less.
    """
    whole = len(examples) <= _MOST_COUNTED
    sample = examples if whole else random.Random(seed).sample(examples, _SAMPLE)
    encoded = [encoder.example(example) for example in sample]
    totals, trained = [len(one.ids) for one in encoded], [one.trained_tokens for one in encoded]
    if whole:
        return TokenCount(all=_exact(sum(totals)), trained=_exact(sum(trained)), counted_rows=len(sample))
    sizes, size = [_bytes(example) for example in sample], sum(map(_bytes, examples))
    return TokenCount(
        all=_estimated(totals, sizes, size, len(examples)),
        trained=_estimated(trained, sizes, size, len(examples)),
        counted_rows=len(sample),
    )


def _exact(tokens: int) -> Count:
    return Count(value=tokens, low=tokens, high=tokens)


def _bytes(example: Example) -> int:
    return len(example.prompt.encode()) + len(example.completion.encode())


def _estimated(tokens: Sequence[int], sizes: Sequence[int], size: int, rows: int) -> Count:
    ratio = sum(tokens) / max(1, sum(sizes))
    value = ratio * size
    interval = mean_interval([count - ratio * own for count, own in zip(tokens, sizes, strict=True)])
    half = 0.0 if interval is None else max(-interval.low, interval.high) * rows
    return Count(value=round(value), low=max(0, round(value - half)), high=round(value + half))
