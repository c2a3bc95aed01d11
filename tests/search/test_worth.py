from __future__ import annotations

import numpy as np
import pytest

from fewtune.search.worth import worth

HARDNESS = np.random.default_rng(5).normal(3.0, 1.0, size=30)


def rows(above: float, seed: int) -> list[float]:
    return (HARDNESS + above + np.random.default_rng(seed).normal(0, 0.1, size=30)).tolist()


def test_what_beats_every_rival_beyond_noise_is_worth_tuning() -> None:
    found = worth(rows(0, 1), {"base": rows(1.0, 2), "few-shot": rows(0.5, 3)})
    assert (found.answer, found.rival) == ("tune", "few-shot")
    assert found.gains["few-shot"].value == pytest.approx(0.5, abs=0.1)


def test_one_rival_within_the_noise_is_enough_not_to_tune() -> None:
    found = worth(rows(0, 1), {"base": rows(1.0, 2), "few-shot": rows(0.0, 3)})
    assert (found.answer, found.rival) == ("do not tune", "few-shot")


def test_one_row_cannot_tell() -> None:
    assert worth([1.0], {"base": [2.0]}).answer == "cannot be told"


def test_a_model_that_is_its_rival_on_every_row_is_not_worth_it() -> None:
    assert worth([1.0, 2.0, 3.0], {"base": [1.0, 2.0, 3.0]}).answer == "do not tune"


def test_folds_that_disagree_take_away_what_rows_alone_would_claim() -> None:
    gains = np.repeat([0.9, -0.4, 0.8, -0.2], 10) + np.random.default_rng(2).normal(0, 0.1, size=40)
    base, tuned = (3 + gains).tolist(), [3.0] * 40
    assert worth(tuned, {"base": base}).answer == "tune"
    assert worth(tuned, {"base": base}, groups=[place // 10 for place in range(40)]).answer == "do not tune"


def test_five_right_answers_more_cannot_be_told_from_luck_and_six_can() -> None:
    wrong = [1.0] * 20
    five, six = ([0.0] * count + [1.0] * (20 - count) for count in (5, 6))
    assert worth(five, {"base": wrong}, binary=True).answer == "do not tune"
    assert worth(six, {"base": wrong}, binary=True).answer == "tune"


def test_equal_rivals_are_called_worth_beating_no_more_often_than_the_level_says() -> None:
    claims = 0
    for seed in range(200):
        noise = np.random.default_rng(seed)
        tuned, base, few_shot = (noise.gamma(2.0, size=25).tolist() for _ in range(3))
        claims += worth(tuned, {"base": base, "few-shot": few_shot}).answer == "tune"
    assert claims <= 0.05 * 200
