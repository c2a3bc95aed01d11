"""Would more data help? A power law through the losses at a quarter, a half and all of the rows."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fewtune.statistics import Interval

Floats = npt.NDArray[np.float64]

SHARES = (0.25, 0.5)
"""Of the rows, besides all of them."""
DRAWS = 2
"""Trainings at each share, without a row in common: how far they lie apart shows how much luck a training has."""
FEWEST_ROWS = 10
"""Validation rows, or rows of the smallest share, below which no fit means anything."""
RESAMPLES = 2000
_EXPONENTS = np.geomspace(0.1, 2.0, 14)
"""Losses of language models were seen to fall with exponents of 0.05 to 0.5, those of fine-tuning up to 1; a grid that
ended at 1 would miss a true 1 too often."""
_TINY = 1e-9


@dataclass(frozen=True, kw_only=True)
class Size:
    """One number of training rows, and what was measured with so many."""

    rows: int
    losses: tuple[tuple[float, ...], ...]
    """Losses of the validation rows, in one order for all sizes; one tuple a training."""


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What `factor` times the data would bring."""

    factor: float
    gain: float
    """How much lower the loss would be."""
    interval: Interval
    """Of the gain."""

    @property
    def can_be_told(self) -> bool:
        return self.interval.excludes(0.0)

    def __str__(self) -> str:
        times = "Twice" if self.factor == 2 else f"{self.factor:g} times"
        if not self.can_be_told:
            return f"Whether {times.lower()} the data would lower the loss cannot be told."
        if self.gain < 0:
            return f"{times} the data would not lower the loss."
        half = max(self.interval.high - self.gain, self.gain - self.interval.low)
        gain, spread = _rounded(self.gain, half)
        return f"{times} the data would lower the loss by {gain} ± {spread}."


def _rounded(value: float, half: float) -> tuple[str, str]:
    """To the first digit of the half-width, or to the second one where the first would hide that it is the smaller."""
    places = max(0, -math.floor(math.log10(half)))
    if round(half, places) >= round(value, places):
        places += 1
    return f"{value:.{places}f}", f"{half:.{places}f}"


def parts(rows: Sequence[int], share: float, draws: int, seed: int) -> tuple[tuple[int, ...], ...]:
    """So many draws of a share of the rows, without a row in common, each in the order of the rows.

    Draws of half the share lie within those of the share. Raises ValueError where so many do not fit.
    """
    size = max(1, int(share * len(rows)))
    if not 0 < share <= 1 or draws * size > len(rows) or draws * share > 1:
        raise ValueError(f"{draws} draws of {share:g} of {len(rows)} rows have rows in common")
    shuffled = list(rows)
    random.Random(seed).shuffle(shuffled)
    starts = [draw * len(rows) // draws for draw in range(draws)]
    drawn = [set(shuffled[start : start + size]) for start in starts]
    return tuple(tuple(row for row in rows if row in chosen) for chosen in drawn)


def outlook(
    sizes: Sequence[Size], *, factor: float = 2.0, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> Outlook:
    """Fit loss = floor + scale * rows ** -exponent, with scale of either sign; read it off at `factor` times the rows.

    The form is that of Hestness et al., arXiv 1712.00409. Three sizes cannot tell three numbers with any certainty,
    so each exponent from 0.1 to 2 is fitted, and weighted by how well it fits. The interval is that of resamples
    which each have

    - a bootstrap sample of the validation rows, the same rows for every size,
    - the luck of a training added to each mean: normal, with the variance between trainings of one size, pooled over
      the sizes, and as uncertain as its degrees of freedom make it (so that the luck is Student's t),
    - one exponent, drawn by its weight.

    Raises ValueError with fewer than three sizes, or where no size has two trainings: an interval without the luck of
    a training would be too narrow.
    """
    ordered = sorted(sizes, key=lambda one: one.rows)
    freedom = sum(len(one.losses) - 1 for one in ordered)
    if len({one.rows for one in ordered}) < 3 or freedom < 1:
        raise ValueError("an outlook needs three sizes, and two trainings of one of them")
    counts = np.asarray([one.rows for one in ordered], dtype=np.float64)
    tables = [np.asarray(one.losses, dtype=np.float64) for one in ordered]
    rows = np.stack([table.mean(axis=0) for table in tables])
    generator = np.random.default_rng(seed)
    samples = _resampled(rows, generator, resamples) + _luck(tables, freedom, generator, resamples)
    # What all sizes have in common, such as how hard the drawn rows are, says nothing about the curve's form.
    spread = (samples - samples.mean(axis=1, keepdims=True)).std(axis=0, ddof=1) + _TINY
    gains, weights = _gains(counts, rows.mean(axis=1)[None, :], factor, spread)
    drawn = _drawn(*_gains(counts, samples, factor, spread), generator)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    interval = Interval(low=float(low), high=float(high), level=level)
    return Outlook(factor=factor, gain=float((gains * weights).sum()), interval=interval)


def _resampled(rows: Floats, generator: np.random.Generator, resamples: int) -> Floats:
    """(resamples, sizes) means over bootstrap samples of the rows."""
    number = rows.shape[1]
    picked = generator.multinomial(number, np.full(number, 1 / number), size=resamples)
    return picked @ rows.T / number


def _luck(tables: Sequence[Floats], freedom: int, generator: np.random.Generator, resamples: int) -> Floats:
    """(resamples, sizes) of what another training of each size might have come to instead."""
    means = [table.mean(axis=1) for table in tables]
    squares = sum(float(np.square(one - one.mean()).sum()) for one in means)
    deviations = np.sqrt(squares / generator.chisquare(freedom, size=(resamples, 1)))
    trainings = np.asarray([len(one) for one in means])
    return generator.standard_normal((resamples, len(means))) * deviations / np.sqrt(trainings)


def _gains(counts: Floats, means: Floats, factor: float, spread: Floats) -> tuple[Floats, Floats]:
    """For each line of means and each exponent: what more rows bring, and the exponent's weight by its fit.

    A straight line in rows ** -exponent by weighted least squares, for all lines and exponents at once.
    """
    weights = spread**-2 / (spread**-2).sum()
    powers = (counts / counts[-1])[:, None] ** -_EXPONENTS
    across, up = powers - weights @ powers, means - (means @ weights)[:, None]
    variance = weights @ np.square(across)
    slopes = (up * weights) @ across / variance
    misfits = ((np.square(up) @ weights)[:, None] - np.square(slopes) * variance) * (spread**-2).sum()
    likely = np.exp(-0.5 * (misfits - misfits.min(axis=1, keepdims=True)))
    return slopes * (1 - factor**-_EXPONENTS), likely / likely.sum(axis=1, keepdims=True)


def _drawn(gains: Floats, weights: Floats, generator: np.random.Generator) -> Floats:
    """One gain a line, its exponent drawn by weight."""
    places = (weights.cumsum(axis=1) < generator.random(len(gains))[:, None]).sum(axis=1)
    return gains[np.arange(len(gains)), np.minimum(places, gains.shape[1] - 1)]
