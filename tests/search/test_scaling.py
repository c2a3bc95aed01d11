from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewtune.search.scaling import SHARES, Size, outlook, subset


def measured(seed: int, exponent: float, scale: float, noise: float = 0.05, rows: int = 40) -> list[Size]:
    """Losses at a quarter, a half and all of 200 rows; at 200 rows `scale` of the loss can be learnt away."""
    chance = np.random.default_rng(seed)
    hardness = chance.normal(2.0, 0.5, size=rows)
    sizes: list[Size] = []
    for share in SHARES:
        line = hardness + scale * share**-exponent + chance.normal(0.0, noise, size=rows)
        sizes.append(Size(rows=round(200 * share), losses=(tuple(float(value) for value in line),)))
    return sizes


@pytest.mark.parametrize("exponent", [0.2, 0.5, 1.0])
def test_the_interval_holds_what_twice_the_data_brings(exponent: float) -> None:
    truth = 0.4 * (1 - 2**-exponent)
    found = [outlook(measured(seed, exponent, 0.4), resamples=100, seed=seed) for seed in range(40)]
    held = sum(1 for one in found if one.interval and one.interval.low <= truth <= one.interval.high)
    assert held >= 34


def test_a_clear_gain_is_told_with_its_interval() -> None:
    found = outlook(measured(1, 0.5, 0.6, noise=0.02))
    assert found.can_be_told
    assert str(found).startswith("Twice the data would lower the loss by 0.1")
    assert "±" in str(found)


def test_noise_and_too_few_rows_cannot_be_told() -> None:
    assert str(outlook(measured(1, 0.5, 0.0, noise=0.5))) == "Whether twice the data would help cannot be told."
    assert not outlook(measured(1, 0.5, 0.6, rows=5)).can_be_told


def test_one_size_is_no_curve() -> None:
    with pytest.raises(ValueError, match="two sizes"):
        outlook(measured(1, 0.5, 0.6)[:1])


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=60, unique=True), st.integers(0, 100))
def test_a_smaller_subset_lies_within_a_larger_one(rows: list[int], seed: int) -> None:
    quarter, half, whole = (subset(rows, share, seed) for share in SHARES)
    assert set(quarter) <= set(half) <= set(whole) == set(rows)
    assert whole == tuple(rows)
    assert len(quarter) == max(1, round(len(rows) / 4))
