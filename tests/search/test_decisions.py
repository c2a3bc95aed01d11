from __future__ import annotations

import numpy as np
import pytest

from bench.decisions import Choice, halved, naive
from bench.simulated import EPOCHS, Problem, problems
from fewtune.search.halving import Halving, rungs_of

HALVING = Halving(rungs=rungs_of(EPOCHS))


def good(problem: Problem, choice: Choice) -> bool:
    best = problem.truth[:, np.asarray(EPOCHS) - 1].min()
    return bool(problem.truth[choice.trunk, choice.epochs - 1] - best <= problem.standard_error)


@pytest.mark.parametrize("seeds", [2, pytest.param(50, marks=pytest.mark.slow)])
def test_choices_are_good_and_promises_true_for_a_quarter_of_the_grid(seeds: int) -> None:
    right, tokens, broken, lucky = [], [], [], []
    for problem in problems():
        for seed in range(seeds):
            table = problem.measured(seed)
            choice, grid = halved(problem, table, HALVING), naive(problem, table)
            right.append(good(problem, choice))
            tokens.append(choice.tokens / grid.tokens)
            for one, errors in ((choice, broken), (grid, lucky)):
                errors.append((one.promised - problem.truth[one.trunk, one.epochs - 1]) / problem.standard_error)
    assert np.mean(right) >= 0.9
    assert np.mean(tokens) <= 0.25
    assert abs(np.mean(broken)) < abs(np.mean(lucky))
