from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as some

from fewtune.engine.drift import Drift, ExportDrift, allowed, check_drift, measure_drift, tolerance


def test_drift_is_the_mean_and_the_largest_difference_of_a_token() -> None:
    found = measure_drift([(-1.0, -2.0), (-3.0,)], [(-1.5, -2.0), (-2.0,)])
    assert found == Drift(tokens=3, mean=0.5, largest=1.0)


@given(some.lists(some.lists(some.floats(-20, 0), min_size=1), min_size=1))
def test_equal_scores_have_not_drifted(rows: list[list[float]]) -> None:
    assert measure_drift(rows, rows).largest == 0.0


def test_other_tokens_are_an_error_and_not_a_distance() -> None:
    with pytest.raises(ExportDrift, match="other tokens"):
        measure_drift([(-1.0, -2.0)], [(-1.0,)])


@pytest.mark.parametrize("mean", [0.02, math.inf, math.nan])
def test_a_drift_above_the_limit_names_both_and_the_reader(mean: float) -> None:
    with pytest.raises(ExportDrift, match=r"llama\.cpp scores them.*0\.01 are allowed"):
        check_drift(Drift(tokens=1, mean=mean, largest=mean), 0.01, "llama.cpp")


def test_a_drift_within_the_limit_passes() -> None:
    check_drift(Drift(tokens=1, mean=0.01, largest=3.0), 0.01, "fewtune")


def test_a_slight_tuning_must_not_be_rounded_away() -> None:
    bf16 = tolerance("BF16", computed_in_bf16=False)
    assert allowed(bf16, effect=5.0) == bf16
    assert allowed(bf16, effect=0.004) == pytest.approx(0.001)
    assert 0 < allowed(bf16, effect=0.0) < 1e-4
