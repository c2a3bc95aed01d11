"""How often a 95 % interval holds the truth, on simulated pairs of systems: `python -m bench.coverage`.

Beside the bootstrap-t of the rows' values or pseudo-values stand the percentile bootstrap of the statistic itself and
its BCa refinement (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapters 13 and 14).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from bench import report
from fewtune.statistics import mean_interval, paired_share_interval, pseudo_values, sign_test

Floats = npt.NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], tuple[Floats, Floats]]
Statistic = Callable[[Floats], Floats]
"""From (m, k) sums over rows to m values."""

RESAMPLES = 1000
_MANY = 400_000
_NORMAL = NormalDist()


@dataclass(frozen=True, kw_only=True)
class Problem:
    name: str
    draw: Draw
    """(rows, k) parts of the sums for each of two systems."""
    statistic: Statistic
    studies: int


def mean(sums: Floats) -> Floats:
    return sums[:, 0] / sums[:, 1]


def macro_f1(sums: Floats) -> Floats:
    """Of right, expected and answered by label; labels that no row has are left out."""
    right, expected, answered = np.split(sums, 3, axis=1)
    scores = 2 * right / np.maximum(expected + answered, 1)
    return np.where(expected > 0, scores, 0).sum(axis=1) / np.maximum((expected > 0).sum(axis=1), 1)


def values(of: str, shift: float) -> Draw:
    def draw(generator: np.random.Generator, n: int) -> tuple[Floats, Floats]:
        found = getattr(generator, of)(size=n) + shift
        ones = np.ones(n)
        return np.stack((found, ones), axis=1), np.stack((np.zeros(n), ones), axis=1)

    return draw


def likelihoods(generator: np.random.Generator, n: int) -> tuple[Floats, Floats]:
    """Nats and bytes of texts of 2 to 40 tokens."""
    sizes = generator.integers(2, 40, size=n).astype(float)
    return tuple(np.stack((sizes * (generator.exponential(size=n) + 0.5), sizes), axis=1) for _ in range(2))  # type: ignore[return-value]


def labels(size: int) -> Draw:
    """Two systems that know 60 and 80 % of the labels and guess the others."""

    def draw(generator: np.random.Generator, n: int) -> tuple[Floats, Floats]:
        expected = generator.integers(size, size=n)
        rows = np.arange(n)
        systems: list[Floats] = []
        for known in (0.6, 0.8):
            said = np.where(generator.random(n) < known, expected, generator.integers(size, size=n))
            parts = np.zeros((n, 3 * size))
            parts[rows, expected] = said == expected
            parts[rows, size + expected] = 1
            parts[rows, 2 * size + said] = 1
            systems.append(parts)
        return systems[0], systems[1]

    return draw


def intervals(first: Floats, second: Floats, statistic: Statistic, seed: int) -> dict[str, tuple[float, float] | None]:
    def difference(one: Floats, other: Floats) -> Floats:
        return statistic(one) - statistic(other)

    n, sums = len(first), (first.sum(axis=0), second.sum(axis=0))
    whole = float(difference(sums[0][None, :], sums[1][None, :])[0])
    without = difference(sums[0] - first, sums[1] - second)
    found = mean_interval(pseudo_values(whole, without.tolist()), resamples=RESAMPLES, seed=seed)
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=RESAMPLES).astype(float)
    resampled = difference(drawn @ first, drawn @ second)
    return {
        "bootstrap-t": (found.low, found.high) if found else None,
        "percentile": tuple(np.quantile(resampled, (0.025, 0.975)).tolist()),  # type: ignore[dict-item]
        "BCa": bca(resampled, whole, without),
    }


def bca(resampled: Floats, whole: float, without: Floats) -> tuple[float, float]:
    below = float(((resampled < whole).mean() + (resampled <= whole).mean()) / 2)
    bias = _NORMAL.inv_cdf(min(max(below, 1 / RESAMPLES), 1 - 1 / RESAMPLES))
    centred = without.mean() - without
    spread = float((centred**2).sum())
    skew = float((centred**3).sum()) / (6 * spread**1.5) if spread else 0.0
    shifted = (bias + _NORMAL.inv_cdf(level) for level in (0.025, 0.975))
    low, high = (_NORMAL.cdf(bias + z / (1 - skew * z)) for z in shifted)
    return float(np.quantile(resampled, low)), float(np.quantile(resampled, high))


def coverage(problem: Problem, n: int) -> dict[str, float]:
    generator = np.random.default_rng(n)
    one, other = problem.draw(generator, _MANY // (20 if n > 200 else 1))
    truth = float((problem.statistic(one.sum(0)[None, :]) - problem.statistic(other.sum(0)[None, :]))[0])
    hits: dict[str, list[bool]] = {}
    for study in range(problem.studies):
        for name, found in intervals(*problem.draw(generator, n), problem.statistic, study).items():
            if found:
                hits.setdefault(name, []).append(found[0] <= truth <= found[1])
    return {name: float(np.mean(found)) for name, found in hits.items()}


def shares(n: int, studies: int) -> tuple[float, float]:
    """Of 0/1 outcomes: coverage of the paired interval, and how often the exact test errs where there is nothing."""
    generator = np.random.default_rng(n)
    covered = sum(
        (found := paired_share_interval(wins, losses, n)) is not None and found.low <= 0.2 <= found.high
        for wins, losses, _ in generator.multinomial(n, [0.3, 0.1, 0.6], size=studies).tolist()
    )
    wrong = sum(
        sign_test(wins, losses) < 0.05
        for wins, losses, _ in generator.multinomial(n, [0.2, 0.2, 0.6], size=studies).tolist()
    )
    return covered / studies, wrong / studies


def problems(studies: int) -> list[tuple[Problem, tuple[int, ...]]]:
    fewer = max(1, studies * 2 // 5)
    return [
        (Problem(name="normal", draw=values("standard_normal", 0), statistic=mean, studies=studies), (30, 100)),
        (
            Problem(name="exponential", draw=values("standard_exponential", 0), statistic=mean, studies=studies),
            (30, 100),
        ),
        (Problem(name="bits per byte", draw=likelihoods, statistic=mean, studies=fewer), (30, 100)),
        (Problem(name="macro-F1, 5 labels", draw=labels(5), statistic=macro_f1, studies=fewer), (30, 100)),
        (Problem(name="macro-F1, 20 labels", draw=labels(20), statistic=macro_f1, studies=fewer), (30, 100)),
        (Problem(name="macro-F1, 77 labels", draw=labels(77), statistic=macro_f1, studies=fewer), (300,)),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.coverage", description=__doc__)
    parser.add_argument("--studies", type=int, default=1000)
    studies = parser.parse_args().studies
    measured = {
        f"{problem.name}, {n} rows": coverage(problem, n) for problem, sizes in problems(studies) for n in sizes
    }
    ways = ("bootstrap-t", "percentile", "BCa")
    rows = [[name, *(f"{100 * found[way]:.1f} %" for way in ways)] for name, found in measured.items()]
    report.show(("paired differences", *ways), rows)
    told = {f"{n} rows": shares(n, 20 * studies) for n in (30, 100)}
    cells = [[name, f"{100 * covered:.1f} %", f"{100 * wrong:.1f} %"] for name, (covered, wrong) in told.items()]
    report.show(("right or wrong", "interval covers", "exact test errs"), cells)
    report.write("coverage", {"coverage": measured, "shares": told})


if __name__ == "__main__":
    main()
