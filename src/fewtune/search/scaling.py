"""Would more data help? A power law through the losses at a quarter, a half and all of the rows."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fewtune.statistics import Interval

Floats = npt.NDArray[np.float64]

SHARES = (0.25, 0.5, 1.0)
FEWEST_ROWS = 10
"""Validation rows below which no interval of a fit means anything."""
RESAMPLES = 1000
_EXPONENTS = np.linspace(0.1, 1.0, 10)
"""Learning curves of language models were seen to fall with 0.05 to 0.5, of fine-tuning up to 1."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """One number of training rows, and what was measured with so many."""

    rows: int
    losses: tuple[tuple[float, ...], ...]
    """Validation losses by row, one tuple a training: other seeds, or other draws of the rows."""


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What `factor` times the data would bring."""

    factor: float
    gain: float
    """How much lower the loss would be."""
    interval: Interval | None
    """None where it cannot be told: too few rows or sizes."""

    @property
    def can_be_told(self) -> bool:
        return self.interval is not None and self.interval.excludes(0.0)

    def __str__(self) -> str:
        times = "Twice" if self.factor == 2 else f"{self.factor:g} times"
        if self.interval is None or not self.can_be_told:
            return f"Whether {times.lower()} the data would help cannot be told."
        half = max(self.interval.high - self.gain, self.gain - self.interval.low)
        word, size = ("lower", self.gain) if self.gain > 0 else ("raise", -self.gain)
        return f"{times} the data would {word} the loss by {size:.2g} ± {half:.1g}."


def subset(rows: Sequence[int], share: float, seed: int) -> tuple[int, ...]:
    """A share of the rows, at least one, in their order; a smaller share lies within a larger one of the same seed."""
    if not 0 < share <= 1:
        raise ValueError(f"a share lies above 0 and is at most 1, not {share}")
    shuffled = list(rows)
    random.Random(seed).shuffle(shuffled)
    kept = set(shuffled[: max(1, round(share * len(shuffled)))])
    return tuple(row for row in rows if row in kept)


def outlook(
    sizes: Sequence[Size], *, factor: float = 2.0, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> Outlook:
    """Fit loss = floor + scale * rows ** -exponent, with scale of either sign, and read it off at more rows.

    Three sizes cannot tell three numbers with any certainty. So each exponent of a grid from 0.1 to 1 is fitted,
    and weighted by how well it fits; the interval is that of bootstrap samples of validation rows, the same rows for
    every size, and of trainings where a size has several, each with an exponent drawn by its weight. With one
    training a size the luck of those trainings is not in it. The form is that of Hestness et al., arXiv 1712.00409.
    """
    ordered = sorted(sizes, key=lambda one: one.rows)
    if len({one.rows for one in ordered}) < 2:
        raise ValueError("an outlook needs at least two sizes")
    counts = np.asarray([one.rows for one in ordered], dtype=np.float64)
    means = np.asarray([float(np.mean(one.losses)) for one in ordered])
    generator = np.random.default_rng(seed)
    samples = np.stack([_resampled(ordered, generator) for _ in range(resamples)])
    # What all sizes have in common, such as how hard the drawn rows are, says nothing about the curve's form.
    spread = (samples - samples.mean(axis=1, keepdims=True)).std(axis=0, ddof=1)
    gains, weights = _gains(counts, means[None, :], factor, spread)
    gain = float((gains * weights).sum())
    if len(ordered) < len(SHARES) or len(ordered[0].losses[0]) < FEWEST_ROWS:
        return Outlook(factor=factor, gain=gain, interval=None)
    drawn = _drawn(*_gains(counts, samples, factor, spread), generator)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Outlook(factor=factor, gain=gain, interval=Interval(low=float(low), high=float(high), level=level))


def _resampled(sizes: Sequence[Size], generator: np.random.Generator) -> Floats:
    rows = generator.integers(len(sizes[0].losses[0]), size=len(sizes[0].losses[0]))
    means: list[float] = []
    for one in sizes:
        trainings = generator.integers(len(one.losses), size=len(one.losses))
        means.append(float(np.asarray(one.losses)[np.ix_(trainings, rows)].mean()))
    return np.asarray(means)


def _gains(counts: Floats, means: Floats, factor: float, spread: Floats) -> tuple[Floats, Floats]:
    """For each line of means and each exponent: what more rows bring, and the exponent's weight by its fit."""
    gains: list[Floats] = []
    misfits: list[Floats] = []
    scale = float(np.square(spread).mean()) + 1e-12
    for exponent in _EXPONENTS:
        design = np.stack([np.ones(len(counts)), (counts / counts[-1]) ** -exponent], axis=1)
        solution = np.linalg.lstsq(design, means.T, rcond=None)[0]
        misfits.append(np.square(design @ solution - means.T).sum(axis=0) / scale)
        gains.append(solution[1] * (1 - factor**-exponent))
    weights = np.exp(-0.5 * (np.stack(misfits, axis=1) - np.min(misfits, axis=0)[:, None]))
    return np.stack(gains, axis=1), weights / weights.sum(axis=1, keepdims=True)


def _drawn(gains: Floats, weights: Floats, generator: np.random.Generator) -> Floats:
    """One gain a line, its exponent drawn by weight."""
    places = (weights.cumsum(axis=1) < generator.random(len(gains))[:, None]).sum(axis=1)
    return gains[np.arange(len(gains)), np.minimum(places, gains.shape[1] - 1)]
