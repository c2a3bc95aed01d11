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
    assert found.gain.value == pytest.approx(0.5, abs=0.1)


def test_one_rival_within_the_noise_is_enough_not_to_tune() -> None:
    found = worth(rows(0, 1), {"base": rows(1.0, 2), "few-shot": rows(0.0, 3)})
    assert (found.answer, found.rival) == ("do not tune", "few-shot")


def test_one_row_cannot_tell() -> None:
    assert worth([1.0], {"base": [2.0]}).answer == "cannot be told"
