from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewtune.search.prior import around, learning_rate_prior


def test_the_prior_gives_the_published_values() -> None:
    assert learning_rate_prior(2000) == pytest.approx(5e-4)
    assert learning_rate_prior(4096) == pytest.approx(2.86e-4, rel=1e-2)
    assert learning_rate_prior(256) == pytest.approx(2.5e-3, rel=1e-2)


def test_the_rates_around_the_prior_of_the_built_in_base_hold_the_best_ones_known() -> None:
    assert around(learning_rate_prior(384)) == (5e-4, 9e-4, 2e-3)


@given(st.integers(1, 20_000))
def test_the_rates_rise_and_have_one_digit(hidden_size: int) -> None:
    low, middle, high = around(learning_rate_prior(hidden_size))
    assert low < middle < high
    assert all(float(f"{rate:.0e}") == rate for rate in (low, middle, high))


def test_a_base_without_width_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        learning_rate_prior(0)
