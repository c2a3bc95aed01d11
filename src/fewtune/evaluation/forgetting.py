"""Whether tuning on a few rows cost the base its general language: bits per byte of prose that nobody tuned on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from statistics import fmean

from fewtune.statistics import Interval, paired_difference

MATTERS = 0.01
"""Bits a byte; what lies below is no loss to speak of. On prose of 4 bytes a token it is 0.03 nats a token, a
perplexity 3 % higher; tuning that spoils a base costs ten times as much and more (docs/rivals.md)."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """Means over paragraphs, each of which counts the same, in bits per byte; lower is better."""

    before: float
    after: float
    interval: Interval | None
    """Of after minus before, paired by paragraph."""
    bytes: int


def prose() -> tuple[str, ...]:
    """The paragraphs of the prose that comes with the package, written for it: tales, news, talk, science, advice."""
    text = (files("fewtune.evaluation") / "prose.txt").read_text(encoding="utf-8")
    return tuple(paragraph for part in text.split("\n\n") if (paragraph := " ".join(part.split())))


def bits_per_byte(log_likelihoods: Sequence[float], text: str) -> float:
    """From the nats of the text's tokens, without that of a stop; it does not depend on the tokenizer."""
    return -math.fsum(log_likelihoods) / math.log(2) / len(text.encode())


def change(before: Sequence[float], after: Sequence[float], texts: Sequence[str]) -> Change:
    """Raises ValueError where there is no paragraph, or not the same ones on both sides."""
    difference = paired_difference(after, before)
    return Change(
        before=fmean(before),
        after=fmean(after),
        interval=difference.interval,
        bytes=sum(len(text.encode()) for text in texts),
    )
