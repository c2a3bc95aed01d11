"""What a search is told: how a candidate stood after some epochs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One measurement of one candidate; a candidate is a plan in everything but its epochs."""

    candidate: int
    epochs: int
    score: float
    """Lower is better: validation loss, or 1 minus a metric. Not finite: the training failed or diverged."""
    rows: tuple[float, ...] | None = None
    """The score of each validation row, in one order for all candidates; None where it is not told."""
    share: float = 1.0
    """Share of the training rows that were used."""


def curve(readings: Iterable[Reading], candidate: int) -> tuple[Reading, ...]:
    """A candidate's readings on all rows by epochs; what was told twice counts as told last."""
    return curves(readings).get(candidate, ())


def curves(readings: Iterable[Reading], share: float = 1.0) -> Mapping[int, tuple[Reading, ...]]:
    """The curve of every candidate on that share of the rows."""
    grouped: dict[int, dict[int, Reading]] = {}
    for one in readings:
        if one.share == share:
            grouped.setdefault(one.candidate, {})[one.epochs] = one
    return {candidate: tuple(found[epochs] for epochs in sorted(found)) for candidate, found in grouped.items()}


def has_failed(readings: Sequence[Reading]) -> bool:
    return any(not math.isfinite(one.score) for one in readings)
