"""How good a sweep's decisions are, on problems whose truth is known: `python -m bench.decisions`.

The default search against trying the whole grid and taking the lowest loss. A choice is good when its true loss
is within one standard error of the true best, and the standard error is the strict one: that of the measured
difference of two plans, in which the rows' hardness has gone and the luck of both trainings is left. Tokens are those
of the search with its folds over those of the grid, each plan of which is trained by itself.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.simulated import EPOCHS, FOLDS, Floats, Problem, problems
from fewtune.search.folds import Finalist, default_folds, finalists, repeats
from fewtune.search.halving import Halving, counted, decide, rungs_of
from fewtune.search.nested import by_folds
from fewtune.search.reading import Reading
from fewtune.search.selection import select

SMALL_RATES, SMALL_BATCHES = (6e-4, 2e-3), (2, 8)
TO_THE_END = Halving(rungs=rungs_of(EPOCHS[-1:]), patience=None)


@dataclass(frozen=True, kw_only=True)
class Choice:
    trunk: int
    epochs: int
    tokens: float
    """In epochs of the training rows."""
    promised: float
    """What is reported as its loss."""


def halved(problem: Problem, measured: Floats, halving: Halving) -> Choice:
    """The default search, told what one split shows, and more for its finalists."""
    readings, spent = climb(measured[:, :, ::FOLDS], halving)
    chosen = finalists(counted(halving, readings), EPOCHS)
    folds = default_folds(problem.valid_rows)
    spent += sum(one.epochs for one in repeats(chosen, folds=folds, seeds=(0,)))
    return judged(measured, chosen, folds, spent)


def climb(measured: Floats, halving: Halving) -> tuple[tuple[Reading, ...], int]:
    """All readings of a halving, and the epochs it trained."""
    readings: list[Reading] = []
    at = dict.fromkeys(range(len(measured)), 0)
    while not (decision := decide(halving, at, readings)).is_over:
        for trunk, rung in decision.advance.items():
            at[trunk] += 1
            rows = measured[trunk, at[trunk] - 1]
            readings.append(
                Reading(candidate=trunk, epochs=at[trunk], score=float(rows.mean()), rows=tuple(map(float, rows)))
            )
            assert at[trunk] <= rung.epochs
    return tuple(readings), sum(at.values())


def judged(measured: Floats, chosen: Sequence[Finalist], folds: int, spent: int) -> Choice:
    """Choose among the finalists' plans with the rows of the first folds."""
    groups = np.arange(measured.shape[2]) % FOLDS
    rows = groups < folds
    plans = {
        (one.candidate, epochs): f"{one.candidate}-{epochs}"
        for one in chosen
        for epochs in EPOCHS
        if epochs <= one.epochs
    }
    losses = {name: [float(v) for v in measured[trunk, epochs - 1, rows]] for (trunk, epochs), name in plans.items()}
    means = {name: sum(values) / len(values) for name, values in losses.items()}
    cost = {name: float(epochs) for (_, epochs), name in plans.items()}
    known = [int(group) for group in groups[rows]]
    selection = select(losses, means, cost, groups=known)
    estimate = by_folds(losses, cost, known, chose=(0,))
    assert estimate
    trunk, epochs = next(plan for plan, name in plans.items() if name == selection.chosen)
    return Choice(trunk=trunk, epochs=epochs, tokens=spent, promised=estimate.value)


def small(problem: Problem) -> Problem:
    """The problem's grid of four candidates: two rates by two batch sizes."""
    kept = [
        place
        for place, (rate, batch, weight) in enumerate(problem.trunks)
        if rate in SMALL_RATES and batch in SMALL_BATCHES and not weight
    ]
    return replace(problem, trunks=tuple(problem.trunks[place] for place in kept), truth=problem.truth[kept])


def naive(problem: Problem, measured: Floats) -> Choice:
    """The whole grid on one split, and the lowest loss of it."""
    means = measured[:, :, ::FOLDS].mean(axis=2)[:, np.asarray(EPOCHS) - 1]
    trunk, column = np.unravel_index(means.argmin(), means.shape)
    return Choice(trunk=int(trunk), epochs=EPOCHS[column], tokens=len(means) * sum(EPOCHS), promised=float(means.min()))


def quarter(problem: Problem, measured: Floats, seed: int) -> Choice:
    """A quarter of the grid's plans by chance, and the lowest loss of it."""
    plans = len(problem.trunks) * len(EPOCHS)
    drawn = np.random.default_rng([seed, 11]).choice(plans, size=plans // 4, replace=False)
    trunks, columns = drawn // len(EPOCHS), np.asarray(EPOCHS)[drawn % len(EPOCHS)]
    means = measured[trunks, columns - 1, ::FOLDS].mean(axis=1)
    best = int(means.argmin())
    return Choice(
        trunk=int(trunks[best]), epochs=int(columns[best]), tokens=int(columns.sum()), promised=float(means[best])
    )


def figures(found: Mapping[Problem, Sequence[Choice]]) -> str:
    good, tokens, broken = [], [], []
    for problem, choices in found.items():
        best = problem.truth[:, np.asarray(EPOCHS) - 1].min()
        true = [float(problem.truth[one.trunk, one.epochs - 1]) for one in choices]
        good.append([value - best <= problem.standard_error for value in true])
        tokens.append([one.tokens / (len(problem.trunks) * sum(EPOCHS)) for one in choices])
        broken.append(
            [(one.promised - value) / problem.standard_error for one, value in zip(choices, true, strict=True)]
        )
    worst = min(float(np.mean(line)) for line in good)
    return f"{np.mean(good):7.1%} {worst:9.1%} {np.mean(tokens):8.1%} {np.max(tokens):8.1%} {np.mean(broken):+9.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--problems", type=int, default=2026, help="seed that the problems are drawn with")
    arguments = parser.parse_args()
    ours: dict[Problem, list[Choice]] = {}
    grids: dict[Problem, list[Choice]] = {}
    quarters: dict[Problem, list[Choice]] = {}
    halving = Halving(rungs=rungs_of(EPOCHS))
    for problem in problems(seed=arguments.problems):
        tables = [problem.measured(seed) for seed in range(arguments.seeds)]
        ours[problem] = [halved(problem, table, halving) for table in tables]
        grids[problem] = [naive(problem, table) for table in tables]
        quarters[problem] = [quarter(problem, table, seed) for seed, table in enumerate(tables)]
        print(f"{problem.name:32} {figures({problem: ours[problem]})}  grid {figures({problem: grids[problem]})}")
    few = {problem for problem in ours if problem.valid_rows < 60}
    print(f"{'':32}    good  (worst)   tokens    (most)  promised - true, in standard errors")
    for name, found in (("halving", ours), ("grid, lowest loss", grids), ("quarter of it, lowest loss", quarters)):
        print(f"{name:32} {figures(found)}")
        print(f"{'  below 60 validation rows':32} {figures({p: c for p, c in found.items() if p in few})}")
        print(f"{'  from 60 on':32} {figures({p: c for p, c in found.items() if p not in few})}")
    _show_small([small(problem) for problem in ours], arguments.seeds, halving)


def _show_small(problems: Sequence[Problem], seeds: int, halving: Halving) -> None:
    """Where there are four candidates: what stopping some of them costs and saves."""
    tables = {problem: [problem.measured(seed) for seed in range(seeds)] for problem in problems}
    print(f"{'four candidates':32}    good  (worst)   tokens    (most)  promised - true, in standard errors")
    for name, stops in (("halving", halving), ("all to the end", TO_THE_END)):
        found = {one: [halved(one, table, stops) for table in of_one] for one, of_one in tables.items()}
        print(f"{name:32} {figures(found)}")
    grids = {one: [naive(one, table) for table in of_one] for one, of_one in tables.items()}
    print(f"{'grid, lowest loss':32} {figures(grids)}")


if __name__ == "__main__":
    main()
