from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewtune.errors import BudgetError, UsageError
from fewtune.search.budget import Budget, Cost, Start, admit, affordable, grid_epochs, halving_epochs
from fewtune.search.halving import Halving, rungs_of

HALVING = Halving(rungs=rungs_of((1, 2, 4, 8)))
COSTS = st.builds(Cost, tokens=st.integers(0, 50), minutes=st.integers(0, 50), usd=st.integers(0, 50))
LIMITS = st.none() | st.integers(1, 100)


@given(st.builds(Budget, tokens=LIMITS, minutes=LIMITS, usd=LIMITS), COSTS, st.lists(COSTS, max_size=10))
def test_a_budget_is_never_exceeded_and_whoever_is_cut_would_have_exceeded_it(
    budget: Budget, spent: Cost, costs: list[Cost]
) -> None:
    wanted = [Start(candidate=place, epochs=1, cost=cost) for place, cost in enumerate(costs)]
    admission = admit(budget, spent, wanted)
    total = sum((start.cost for start in admission.admitted), spent)
    if admission.admitted:
        assert budget.exceeded_by(total) is None
    for cut in admission.cut:
        assert getattr(total + cut.start.cost, cut.limit) > getattr(budget, cut.limit)
    assert len(admission.admitted) + len(admission.cut) == len(wanted)


@given(st.integers(1, 40), st.integers(800, 30_000), st.integers(1, 5))
def test_as_many_candidates_as_the_budget_takes_to_the_end_are_begun(
    candidates: int, tokens: int, repeats: int
) -> None:
    count = affordable(Budget(tokens=tokens), HALVING, candidates, Cost(tokens=100), repeats=repeats)
    repeated = repeats if count > 1 else 0
    assert 100 * halving_epochs(HALVING, count, repeated) <= tokens
    if count < candidates:
        assert 100 * halving_epochs(HALVING, count + 1, repeats) > tokens


def test_a_budget_that_does_not_buy_one_training_is_refused_with_the_least_that_would() -> None:
    with pytest.raises(BudgetError, match=r"--budget-tokens 1 does not buy.*--budget-tokens 2730"):
        affordable(Budget(tokens=1), HALVING, 4, Cost(tokens=341.2))
    assert affordable(Budget(tokens=2730), HALVING, 1, Cost(tokens=341.2)) == 1


def test_minutes_that_are_proposed_suffice_when_they_are_measured_again_on_a_busier_machine() -> None:
    with pytest.raises(BudgetError, match=r"takes up to 2\.73\..*--budget-minutes 3.42"):
        affordable(Budget(minutes=1), HALVING, 4, Cost(minutes=0.3412))
    assert affordable(Budget(minutes=3.42), HALVING, 1, Cost(minutes=0.3412 * 1.25)) == 1


def test_a_budget_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="--budget-usd is 0"):
        Budget(usd=0)


def test_no_limit_buys_everything() -> None:
    assert affordable(Budget(), HALVING, 16, Cost(tokens=10**9, minutes=1e6, usd=1e6)) == 16


def test_halving_costs_a_fraction_of_the_grid() -> None:
    assert halving_epochs(HALVING, 30) == 30 + 15 + 8 * 2 + 4 * 4
    assert halving_epochs(HALVING, 30, repeats=4) == 77 + 2 * 8 * 4
    assert grid_epochs((1, 2, 4, 8), 30) == 450
