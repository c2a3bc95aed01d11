"""Intervals and paired tests that stay honest at thirty rows, and say so when there is nothing to say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_CHUNK = 2_000_000
"""Resampled values held in memory at once."""
_NO_SPREAD = 1e-9
"""Spread below this share of the values' size is rounding, not spread."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A two-sided confidence interval; `level` is its nominal coverage."""

    low: float
    high: float
    level: float = 0.95

    def excludes(self, value: float) -> bool:
        return value < self.low or value > self.high


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Mean of first minus second over the same rows."""

    value: float
    interval: Interval | None
    """None where it cannot be told; see `mean_interval`."""
    n: int
    p: float | None
    """Two-sided, of the same bootstrap-t: below 1 - level where the interval excludes 0, and only there. None without
    an interval."""


def standard_error(values: Sequence[float]) -> float | None:
    """Standard error of the mean, with n - 1 in the variance; None for fewer than two values."""
    if len(values) < 2:
        return None
    return float(np.std(values, ddof=1)) / math.sqrt(len(values))


def grouped_error(values: Sequence[float], groups: Sequence[int] | None = None) -> float | None:
    """Standard error of the mean of values that came in groups, such as the folds whose rows share one training.

    What a group's values have in common does not average out within it. So it is the larger of two estimates, from
    the values and from the groups' means; the second one alone is too coarse with few groups. None for fewer than
    two values.
    """
    alone = standard_error(values)
    if alone is None or groups is None:
        return alone
    members: dict[int, list[float]] = {}
    for value, group in zip(values, groups, strict=True):
        members.setdefault(group, []).append(value)
    between = standard_error([sum(found) / len(found) for found in members.values()])
    return max(alone, between or 0.0)


def mean_interval(
    values: Sequence[float], *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval | None:
    """Interval of the mean by the bootstrap-t (studentised bootstrap).

    Each resample of the values gives t = (its mean - mean) / its standard error; the interval is
    mean - t_high * se to mean - t_low * se, with t_low and t_high the tail quantiles of those t. It is
    second-order accurate, so that it covers skewed values at small n where the percentile bootstrap and
    Student's t fall short: Efron and Tibshirani, An Introduction to the Bootstrap (1993), section 12.5;
    Hall, The Bootstrap and Edgeworth Expansion (1992), section 3.

    None, where it cannot be told:
    - fewer than two values, or a value that is not finite;
    - all values equal: n equal values say nothing about how far the next one may lie, and an interval of
      width zero would claim that they do;
    - resamples of equal values, whose t is unbounded, reach into the tails: at 95 % always so for
      two or three values, and for more of them when nearly all are equal.
    """
    return _told_of_mean(values, level, resamples, seed)[0]


def _told_of_mean(
    values: Sequence[float], level: float, resamples: int, seed: int
) -> tuple[Interval | None, float | None]:
    """The interval of the mean, and the p of a mean of 0 by the same resamples."""
    data = np.asarray(values, dtype=np.float64)
    if len(data) < 2 or not np.isfinite(data).all():
        return None, None
    centred = data - data.mean()
    spread = float(centred.std(ddof=1))
    if spread <= _NO_SPREAD * float(np.abs(data).max()):
        return None, None
    resampled = _studentised(centred, spread, resamples, seed)
    low, high = _tails(resampled, level)
    if not (math.isfinite(low) and math.isfinite(high)):
        return None, None
    mean, error = float(data.mean()), spread / math.sqrt(len(data))
    interval = Interval(low=mean - high * error, high=mean - low * error, level=level)
    return interval, _two_sided(resampled, mean / error)


def _two_sided(resampled: Floats, t: float) -> float:
    """Twice the smaller tail beyond t, the t that was found counted among them."""
    beyond = min(int((resampled >= t).sum()), int((resampled <= t).sum()))
    return min(1.0, 2 * (beyond + 1) / (len(resampled) + 1))


def _studentised(centred: Floats, spread: float, resamples: int, seed: int) -> Floats:
    """t of each resample; plus or minus infinity for one whose values are all equal."""
    generator = np.random.default_rng(seed)
    n = len(centred)
    chunk = max(1, _CHUNK // n)
    parts: list[Floats] = []
    for start in range(0, resamples, chunk):
        drawn = centred[generator.integers(n, size=(min(chunk, resamples - start), n))]
        means, spreads = drawn.mean(axis=1), drawn.std(axis=1, ddof=1)
        flat = spreads <= _NO_SPREAD * spread
        unbounded: Floats = np.copysign(np.inf, means)
        parts.append(np.where(flat, unbounded, means / np.where(flat, 1.0, spreads) * math.sqrt(n)))
    return np.concatenate(parts)


def _tails(t: Floats, level: float) -> tuple[float, float]:
    """Tail quantiles, rounded outwards to a value that occurred (infinities cannot be interpolated)."""
    ordered = np.sort(t)
    outside = max(0, math.floor((1 - level) / 2 * (len(t) + 1)) - 1)
    return float(ordered[outside]), float(ordered[len(t) - 1 - outside])


def paired_difference(
    first: Sequence[float], second: Sequence[float], *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Difference:
    """Mean of first minus second with its bootstrap-t interval; the rows stand in the same order in both.

    Pairing takes out how hard the rows are, which is most of the spread. Raises ValueError for sequences of
    different length or without rows.
    """
    if len(first) != len(second) or not first:
        raise ValueError(f"paired rows differ in number or are missing: {len(first)} and {len(second)}")
    differences = [a - b for a, b in zip(first, second, strict=True)]
    interval, p = _told_of_mean(differences, level, resamples, seed)
    return Difference(value=sum(differences) / len(differences), interval=interval, n=len(differences), p=p)


def pseudo_values(whole: float, without: Sequence[float]) -> list[float]:
    """What each row stands for in a statistic of all rows together, so that the mean over rows is that statistic.

    `without` holds the statistic with each row left out. Tukey's jackknife pseudo-values, n * whole - (n - 1) *
    without, moved so that their mean is `whole` instead of its jackknife estimate: Efron and Tibshirani, An
    Introduction to the Bootstrap (1993), section 11.5. Resampling them is resampling rows, with the statistic
    linearised; resampling rows of the statistic itself gives one of the biased kind (rare labels that a resample
    lacks, word pairs that a row drawn twice repeats) an interval beside its value.
    """
    n = len(without)
    raw = n * whole - (n - 1) * np.asarray(without, dtype=np.float64)
    return (raw - raw.mean() + whole).tolist() if n else []


def holm(ps: Sequence[float]) -> list[float]:
    """The p of each of several comparisons, corrected for their number, in the order given.

    Holm, A Simple Sequentially Rejective Multiple Test Procedure, Scandinavian Journal of Statistics 6 (1979).
    """
    corrected, least = [0.0] * len(ps), 0.0
    for rank, place in enumerate(sorted(range(len(ps)), key=lambda place: ps[place])):
        least = max(least, min(1.0, (len(ps) - rank) * ps[place]))
        corrected[place] = least
    return corrected


def sign_test(wins: int, losses: int) -> float:
    """Two-sided p of the exact sign test; rows that tie are left out, and without any other row p is 1.

    On 0/1 outcomes it is the exact form of McNemar's test: McNemar, Psychometrika 12 (1947), with the
    binomial distribution in place of its chi-squared approximation. p is twice the smaller tail, at most 1.
    """
    n, fewer = wins + losses, min(wins, losses)
    term = tail = 1
    for k in range(fewer):
        term = term * (n - k) // (k + 1)
        tail += term
    return min(1.0, 2 * tail / 2**n)


def smallest_share_told(n: int, *, level: float = 0.95) -> float | None:
    """Smallest difference in the share of right answers that n rows can show: one system never worse, by `sign_test`.

    None where even all rows together cannot: below six rows at 95 %.
    """
    needed = next((wins for wins in range(1, n + 1) if sign_test(wins, 0) <= 1 - level), None)
    return None if needed is None else needed / n


def smallest_effect_told(n: int, *, level: float = 0.95) -> float | None:
    """Smallest mean difference that n rows can show, in standard deviations of the difference from row to row.

    Student's t over the root of n, with t by the first three terms of the Cornish-Fisher expansion (Abramowitz and
    Stegun, Handbook of Mathematical Functions, 26.7.5), which is within 2 % from four rows on; None below.
    """
    if n < 4:
        return None
    z, freedom = _normal_quantile(level), n - 1
    first = (z**3 + z) / (4 * freedom)
    second = (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    return (z + first + second + third) / math.sqrt(n)


def wilson_interval(successes: int, n: int, *, level: float = 0.95) -> Interval | None:
    """Interval of a share by Wilson's score; None for fewer than two rows, by this project's rule for one row.

    Wilson, JASA 22 (1927). Preferred at small n to the exact interval of Clopper and Pearson, which is
    needlessly wide: Brown, Cai and DasGupta, Statistical Science 16 (2001). Its actual coverage lies
    around the nominal one and falls below it near 0 and 1.
    """
    if n < 2:
        return None
    z = _normal_quantile(level)
    share, scale = successes / n, 1 + z * z / n
    centre = (share + z * z / (2 * n)) / scale
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / scale
    low = 0.0 if successes == 0 else centre - half  # exact at the ends, where the subtraction would round
    high = 1.0 if successes == n else centre + half
    return Interval(low=low, high=high, level=level)


def paired_share_interval(wins: int, losses: int, n: int, *, level: float = 0.95) -> Interval | None:
    """Interval of (wins - losses) / n for 0/1 outcomes of two systems on the same n rows; None below two rows.

    Wald's interval after one row is added to each kind of disagreement: Bonett and Price, Journal of
    Educational and Behavioral Statistics 37 (2012). It has width even when the systems never disagree.
    It is approximate where `sign_test` is exact, so at the border one may see a difference and the other not.
    """
    if n < 2:
        return None
    z = _normal_quantile(level)
    won, lost = (wins + 1) / (n + 2), (losses + 1) / (n + 2)
    half = z * math.sqrt((won + lost - (won - lost) ** 2) / (n + 2))
    return Interval(low=max(-1.0, won - lost - half), high=min(1.0, won - lost + half), level=level)


def _normal_quantile(level: float) -> float:
    return NormalDist().inv_cdf((1 + level) / 2)


def independent_difference(
    first: float, first_interval: Interval, second: float, second_interval: Interval
) -> Interval:
    """The interval of first minus second where they were measured on different rows, from their own intervals.

    Zou and Donner, Construction of confidence intervals about effect measures: a general approach, Statistics in
    Medicine 27 (2008); of Wilson's intervals it makes Newcombe's tenth method (Statistics in Medicine 17, 1998).
    """
    difference = first - second
    below = math.hypot(first - first_interval.low, second_interval.high - second)
    above = math.hypot(first_interval.high - first, second - second_interval.low)
    return Interval(low=difference - below, high=difference + above)
