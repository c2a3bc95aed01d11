from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewtune.errors import TrainingError
from fewtune.search.selection import Scores, Selection, select, select_by
from fewtune.statistics import standard_error

GENERATOR = np.random.default_rng(3)
HARDNESS = GENERATOR.normal(4.0, 1.0, size=30)
ROWS: dict[str, Sequence[float] | None] = {
    "best": HARDNESS.tolist(),
    "near": (HARDNESS + GENERATOR.normal(0.01, 0.2, size=30)).tolist(),
    "far": (HARDNESS + GENERATOR.normal(0.6, 0.2, size=30)).tolist(),
}


def chosen_from(rows: dict[str, Sequence[float] | None], means: dict[str, float]) -> Selection:
    return select(rows, means, dict.fromkeys(means, 1.0))


def test_the_lowest_loss_wins_among_equally_dear_ones_and_only_those_within_the_noise_are_tied() -> None:
    selection = chosen_from(ROWS, {"far": 4.6, "near": 4.01, "best": 4.0})
    assert selection == Selection(best="best", chosen="best", tied=("near",))


def test_no_tie_is_claimed_without_row_losses() -> None:
    assert chosen_from({**ROWS, "near": None}, {"best": 4.0, "near": 4.01}).tied == ()
    assert chosen_from({**ROWS, "best": None}, {"best": 4.0, "near": 4.01}).tied == ()


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 3), st.integers(1, 2)), min_size=1, max_size=8),
    st.integers(1, 12),
    st.integers(0, 1000),
)
def test_the_winner_is_never_dearer_than_a_tied_one_and_stays_within_one_error_of_the_best(
    drawn: list[tuple[int, int, int]], rows: int, seed: int
) -> None:
    chance = np.random.default_rng(seed)
    losses = {str(place): (worse / 10 + chance.normal(size=rows)).tolist() for place, (worse, _, _) in enumerate(drawn)}
    means = {name: float(np.mean(values)) for name, values in losses.items()}
    cost = {str(place): float(tokens) for place, (_, tokens, _) in enumerate(drawn)}
    ranks = {str(place): rank for place, (_, _, rank) in enumerate(drawn)}
    selection = select(losses, means, cost, ranks=ranks)
    for name in selection.tied:
        assert (cost[selection.chosen], ranks[selection.chosen]) <= (cost[name], ranks[name])
    error = standard_error(np.subtract(losses[selection.chosen], losses[selection.best]).tolist())
    assert error is None or means[selection.chosen] - means[selection.best] <= error


def test_the_cheapest_of_the_tied_wins_and_then_the_one_of_the_smallest_rank() -> None:
    rows = {name: ROWS[name] for name in ("best", "near")}
    means = {"best": 4.0, "near": 4.01}
    assert select(rows, means, {"best": 8, "near": 4}) == Selection(best="best", chosen="near", tied=("best",))
    selection = select(rows, means, {"best": 4, "near": 4}, ranks={"best": 16, "near": 8})
    assert selection == Selection(best="best", chosen="near", tied=("best",))


def test_rows_that_share_a_training_say_less_than_as_many_that_do_not() -> None:
    shared = np.repeat([0.3, -0.1, 0.2, -0.2, 0.1], 10)
    groups = [number // 10 for number in range(50)]
    rows = {"a": HARDNESS[:1].repeat(50).tolist(), "b": (HARDNESS[:1].repeat(50) + shared).tolist()}
    means, cost = {"a": 4.0, "b": 4.06}, {"a": 2.0, "b": 1.0}
    assert select(rows, means, cost).chosen == "a"
    assert select(rows, means, cost, groups=groups).chosen == "b"


def test_one_validation_row_cannot_tell_any_trial_from_the_best() -> None:
    assert chosen_from({"a": [1.0], "b": [5.0]}, {"a": 1.0, "b": 5.0}).tied == ("b",)


def test_trials_with_the_same_loss_on_every_row_are_tied_and_the_cheaper_is_best() -> None:
    rows = [1.0, 2.0, 3.0, 4.0, 5.0]
    selection = select({"dear": rows, "cheap": rows}, {"dear": 3.0, "cheap": 3.0}, {"dear": 8.0, "cheap": 2.0})
    assert selection == Selection(best="cheap", chosen="cheap", tied=("dear",))


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_a_trial_whose_loss_is_not_finite_takes_no_part(broken: float) -> None:
    selection = chosen_from({**ROWS, "broken": [broken] * 30}, {"broken": broken, "best": 4.0})
    assert selection == Selection(best="best", chosen="best", tied=())


def test_it_is_an_error_when_every_trial_diverged() -> None:
    with pytest.raises(TrainingError, match=r"finite.*lower"):
        chosen_from({"a": None}, {"a": math.nan})


def test_ties_are_named_by_rising_loss() -> None:
    rows = {name: (HARDNESS + GENERATOR.normal(0, 0.3, size=30)).tolist() for name in "abcd"}
    means = {name: 4.0 + index / 1000 for index, name in enumerate("abcd")}
    tied = chosen_from({**rows}, means).tied
    assert list(tied) == sorted(tied)


def test_equal_shares_of_right_answers_are_told_apart_by_the_loss() -> None:
    wrong = Scores(rows={"a": [1.0, 0.0] * 10, "b": [0.0, 1.0] * 10}, means={"a": 0.5, "b": 0.5})
    losses = Scores(rows={"a": [1.0, 1.2] * 10, "b": [3.0, 3.1] * 10}, means={"a": 1.1, "b": 3.05})
    cost = {"a": 2, "b": 1}
    assert select_by([wrong], cost).chosen == "b"
    assert select_by([wrong, losses], cost) == Selection(best="a", chosen="a", tied=())
