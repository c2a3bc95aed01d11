from __future__ import annotations

import numpy as np
import pytest

from fewtune.search.nested import by_folds, by_resampling

COST = {str(place): float(place) for place in range(20)}


def twenty_alike(seed: int, rows: int = 30) -> dict[str, list[float]]:
    """Plans that are equally good in truth: whichever wins, its loss is 0."""
    table = np.random.default_rng(seed).normal(0.0, 1.0, size=(20, rows))
    return {str(place): line.tolist() for place, line in enumerate(table)}


def test_the_score_of_a_winner_among_equals_is_not_the_lucky_one() -> None:
    promised, lucky = [], []
    for seed in range(40):
        losses = twenty_alike(seed)
        estimate = by_resampling(losses, COST, seed=seed, resamples=100)
        assert estimate
        promised.append(estimate.value)
        lucky.append(min(sum(values) / 30 for values in losses.values()))
    error = 1 / np.sqrt(40 * 30)
    assert abs(np.mean(promised)) < 3 * error
    assert np.mean(lucky) < -10 * error


def test_folds_that_did_not_choose_give_the_true_loss_too() -> None:
    groups = [row % 5 for row in range(50)]
    promised, optimism = [], []
    for seed in range(60):
        estimate = by_folds(twenty_alike(seed, 50), COST, groups)
        assert estimate
        promised.append(estimate.value)
        optimism.append(estimate.optimism)
    assert abs(np.mean(promised)) < 3 / np.sqrt(60 * 50)
    assert np.mean(optimism) > 0.1


def test_a_clear_winner_is_reported_as_it_is() -> None:
    losses = {"a": [1.0, 1.1, 0.9, 1.2, 1.0, 0.8], "b": [5.0, 5.1, 4.9, 5.2, 5.0, 4.8]}
    estimate = by_resampling(losses, {"a": 2, "b": 1})
    assert estimate
    assert estimate.value == pytest.approx(1.0)
    assert estimate.optimism == pytest.approx(0.0)
    assert estimate.positions == tuple(range(6))


def test_a_fold_that_chose_the_finalists_scores_nothing() -> None:
    groups = [0, 0, 1, 1, 2, 2]
    losses = {"a": [0.0, 0.0, 1.0, 1.0, 2.0, 2.1]}
    estimate = by_folds(losses, {"a": 1}, groups, chose=(0,))
    assert estimate
    assert estimate.positions == (2, 3, 4, 5)
    assert estimate.value == pytest.approx(1.525)


def test_too_few_rows_or_folds_give_no_estimate() -> None:
    assert by_resampling({"a": [1.0, 2.0]}, {"a": 1}) is None
    assert by_folds({"a": [1.0, 2.0]}, {"a": 1}, [0, 0]) is None
    assert by_folds({"a": [1.0, 2.0]}, {"a": 1}, [0, 1], chose=(0, 1)) is None


def test_it_is_told_who_was_chosen_without_each_row() -> None:
    losses = {"a": [1.0, 1.1, 0.9] * 5, "b": [5.0, 5.1, 4.9] * 5}
    estimate = by_resampling(losses, {"a": 2, "b": 1})
    assert estimate is not None and set(map(str, estimate.choices)) == {"{'a': 1.0}"}


def test_what_the_first_score_cannot_tell_the_second_one_decides() -> None:
    wrong = {"a": [1.0, 0.0] * 10, "b": [1.0, 0.0] * 10}
    losses = {"a": [3.0, 3.1] * 10, "b": [1.0, 1.2] * 10}
    cost = {"a": 1, "b": 2}
    for estimate in (
        by_resampling(wrong, cost, then=losses),
        by_folds(wrong, cost, [place // 5 for place in range(20)], then=losses),
    ):
        assert estimate is not None
        assert {name for one in estimate.choices for name in one} == {"b"}
    alone = by_resampling(wrong, cost)
    assert alone is not None and {name for one in alone.choices for name in one} == {"a"}
