from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewtune.statistics import (
    Interval,
    grouped_error,
    holm,
    mean_interval,
    paired_difference,
    paired_share_interval,
    pseudo_values,
    sign_test,
    smallest_effect_told,
    smallest_share_told,
    standard_error,
    wilson_interval,
)

SKEWED = [0.3, 0.4, 0.7, 0.9, 1.1, 1.2, 1.6, 2.4, 3.9, 7.5]


def coverage(draw: str, mean: float, n: int, studies: int) -> float:
    generator = np.random.default_rng(7)
    covered = 0
    for study in range(studies):
        values = getattr(generator, draw)(size=n)
        interval = mean_interval(values.tolist(), resamples=1000, seed=study)
        assert interval is not None
        covered += interval.low <= mean <= interval.high
    return covered / studies


@pytest.mark.parametrize(("draw", "mean"), [("standard_normal", 0.0), ("standard_exponential", 1.0)])
def test_the_bootstrap_t_covers_the_mean_of_thirty_rows_as_often_as_it_says(draw: str, mean: float) -> None:
    assert 0.93 <= coverage(draw, mean, n=30, studies=1000) <= 0.97


def test_a_statistic_of_all_rows_covers_its_truth_where_resampling_it_is_biased() -> None:
    """The share of sums, whose interval is that of its pseudo-values, and which rows of all sizes make up."""
    generator, covered = np.random.default_rng(8), 0
    for study in range(400):
        sizes = generator.integers(2, 40, size=50).astype(float)
        nats = sizes * generator.exponential(size=50)
        without = (nats.sum() - nats) / (sizes.sum() - sizes)
        values = pseudo_values(float(nats.sum() / sizes.sum()), without.tolist())
        assert sum(values) / 50 == pytest.approx(nats.sum() / sizes.sum())
        interval = mean_interval(values, resamples=1000, seed=study)
        assert interval is not None
        covered += interval.low <= 1 <= interval.high
    assert 0.92 <= covered / 400 <= 0.98


def test_the_pseudo_values_of_a_mean_are_the_values() -> None:
    n, total = len(SKEWED), sum(SKEWED)
    assert pseudo_values(total / n, [(total - one) / (n - 1) for one in SKEWED]) == pytest.approx(SKEWED)
    assert pseudo_values(1.0, []) == []


def test_holm_multiplies_the_smallest_p_most_and_keeps_their_order() -> None:
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([0.2]) == [0.2]
    assert holm([]) == []


def test_the_p_of_a_mean_of_nothing_is_spread_evenly() -> None:
    generator = np.random.default_rng(4)
    found = [paired_difference(generator.normal(size=30).tolist(), [0.0] * 30, resamples=500).p for _ in range(300)]
    below = [sum(p is not None and p < level for p in found) / 300 for level in (0.05, 0.5)]
    assert below[0] <= 0.08 and 0.42 <= below[1] <= 0.58


def test_where_there_is_no_interval_there_is_no_p() -> None:
    assert paired_difference([1.0, 2.0], [0.0, 0.0]).p is None


@pytest.mark.parametrize("values", [[], [1.0]])
def test_fewer_than_two_values_have_neither_an_interval_nor_a_standard_error(values: list[float]) -> None:
    assert mean_interval(values) is None
    assert standard_error(values) is None


@pytest.mark.parametrize("values", [[1.0, 2.0], [1.0, 2.0, 4.0]])
def test_two_or_three_values_cannot_bound_the_mean(values: list[float]) -> None:
    assert mean_interval(values) is None


@pytest.mark.parametrize("values", [[0.5] * 12, [0.1 + 0.2, 0.3, 0.3, 0.3, 0.3]])
def test_values_that_are_all_equal_have_no_interval_rather_than_one_of_width_zero(values: list[float]) -> None:
    assert mean_interval(values) is None


def test_values_that_are_nearly_all_equal_have_no_interval() -> None:
    assert mean_interval([0.0] * 20 + [1.0]) is None


@pytest.mark.parametrize("odd", [math.nan, math.inf])
def test_a_value_that_is_not_finite_leaves_no_interval(odd: float) -> None:
    assert mean_interval([1.0, 2.0, 3.0, 4.0, odd]) is None


def test_the_same_seed_gives_the_same_interval() -> None:
    assert mean_interval(SKEWED, seed=3) == mean_interval(SKEWED, seed=3)
    assert mean_interval(SKEWED, seed=3) != mean_interval(SKEWED, seed=4)


def test_the_interval_reaches_further_on_the_side_of_the_long_tail() -> None:
    interval = mean_interval(SKEWED)
    assert interval is not None
    mean = sum(SKEWED) / len(SKEWED)
    assert interval.high - mean > 1.5 * (mean - interval.low) > 0


def test_a_higher_level_gives_a_wider_interval() -> None:
    narrow, wide = mean_interval(SKEWED, level=0.8), mean_interval(SKEWED, level=0.99)
    assert narrow is not None and wide is not None
    assert wide.low < narrow.low and narrow.high < wide.high
    assert (narrow.level, wide.level) == (0.8, 0.99)


@settings(max_examples=25, deadline=None)
@given(shift=st.floats(-100, 100), scale=st.floats(0.01, 100))
def test_the_interval_moves_and_stretches_with_the_values(shift: float, scale: float) -> None:
    plain = mean_interval(SKEWED, resamples=400)
    moved = mean_interval([shift + scale * value for value in SKEWED], resamples=400)
    assert plain is not None and moved is not None
    assert moved.low == pytest.approx(shift + scale * plain.low, rel=1e-6, abs=1e-6)
    assert moved.high == pytest.approx(shift + scale * plain.high, rel=1e-6, abs=1e-6)


def test_many_rows_are_resampled_in_parts_and_agree_with_the_normal_interval() -> None:
    values = np.random.default_rng(1).standard_normal(5000).tolist()
    interval, error = mean_interval(values, resamples=500), standard_error(values)
    assert interval is not None and error is not None
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * error, rel=0.2)


def test_the_standard_error_divides_by_one_less_than_the_number_of_rows() -> None:
    assert standard_error([1.0, 2.0, 3.0, 4.0]) == pytest.approx(math.sqrt(5 / 3) / 2)


def test_pairing_sees_a_small_difference_between_rows_that_differ_widely() -> None:
    generator = np.random.default_rng(2)
    first = generator.normal(3.0, 1.0, size=30)
    second = first + generator.normal(0.1, 0.05, size=30)
    difference = paired_difference(second.tolist(), first.tolist())
    assert difference.n == 30
    assert difference.interval is not None and difference.interval.excludes(0)
    assert difference.interval.low < difference.value < difference.interval.high


def test_the_difference_is_first_minus_second() -> None:
    assert paired_difference([1.0], [3.0]).value == -2.0
    assert paired_difference([1.0], [3.0]).interval is None


@pytest.mark.parametrize(("first", "second"), [([1.0], [1.0, 2.0]), ([], [])])
def test_rows_that_cannot_be_paired_are_refused(first: list[float], second: list[float]) -> None:
    with pytest.raises(ValueError, match="paired rows"):
        paired_difference(first, second)


@pytest.mark.parametrize(
    ("wins", "losses", "p"),
    [(0, 0, 1.0), (1, 0, 1.0), (5, 0, 1 / 16), (6, 0, 1 / 32), (1, 9, 22 / 1024), (7, 7, 1.0), (2, 10, 158 / 4096)],
)
def test_the_sign_test_gives_the_binomial_tails(wins: int, losses: int, p: float) -> None:
    assert sign_test(wins, losses) == pytest.approx(p)
    assert sign_test(losses, wins) == sign_test(wins, losses)


def test_the_sign_test_is_exact_for_thousands_of_rows() -> None:
    # The normal approximation with continuity correction: z = (|5100 - 4900| - 1) / 100
    assert sign_test(5100, 4900) == pytest.approx(math.erfc(1.99 / math.sqrt(2)), rel=1e-3)


def test_the_wilson_interval_of_a_known_case() -> None:
    # 81 of 263: Newcombe, Statistics in Medicine 17 (1998), table I, method 3
    interval = wilson_interval(81, 263)
    assert interval is not None
    assert interval.low == pytest.approx(0.2553, abs=5e-5)
    assert interval.high == pytest.approx(0.3662, abs=5e-5)


def test_a_share_of_none_or_all_still_has_an_interval_of_width() -> None:
    none, every = wilson_interval(0, 20), wilson_interval(20, 20)
    assert none is not None and every is not None
    assert none.low == 0 and none.high == pytest.approx(0.1611, abs=5e-5)
    assert every.high == 1 and every.low == pytest.approx(1 - none.high)


@pytest.mark.parametrize("n", [0, 1])
def test_one_row_has_no_interval_of_a_share(n: int) -> None:
    assert wilson_interval(n, n) is None
    assert paired_share_interval(n, 0, n) is None


def test_two_systems_that_never_disagree_still_have_an_interval_of_width() -> None:
    interval = paired_share_interval(0, 0, 31)
    assert interval is not None
    assert interval.low == pytest.approx(-interval.high) and interval.high > 0.05


@pytest.mark.parametrize(("won", "lost"), [(0.1, 0.1), (0.3, 0.1), (0.5, 0.05)])
def test_the_paired_interval_of_shares_covers_at_thirty_rows(won: float, lost: float) -> None:
    generator = np.random.default_rng(5)
    covered = 0
    for wins, losses, _ in generator.multinomial(30, [won, lost, 1 - won - lost], size=2000).tolist():
        interval = paired_share_interval(wins, losses, 30)
        assert interval is not None
        covered += interval.low <= won - lost <= interval.high
    assert covered / 2000 >= 0.93


def test_values_that_share_something_in_groups_are_less_certain_than_as_many_that_do_not() -> None:
    generator = np.random.default_rng(9)
    found, alone = [], []
    for _ in range(400):
        values = (generator.normal(0, 0.5, size=5)[:, None] + generator.normal(size=(5, 10))).ravel().tolist()
        error = grouped_error(values, [place // 10 for place in range(50)])
        assert error is not None
        found.append(error**2)
        alone.append(standard_error(values) ** 2)  # type: ignore[operator]
    truth = 0.5**2 / 5 + 1 / 50
    assert np.mean(alone) < 0.6 * truth
    assert 0.9 * truth < np.mean(found) < 1.3 * truth


def test_without_groups_or_with_one_the_error_is_the_plain_one() -> None:
    assert grouped_error(SKEWED) == grouped_error(SKEWED, [0] * 10) == standard_error(SKEWED)
    assert grouped_error([1.0], [0]) is None


def test_an_interval_excludes_only_what_lies_outside() -> None:
    interval = Interval(low=0.0, high=1.0)
    assert not interval.excludes(0.0) and not interval.excludes(1.0)
    assert interval.excludes(-0.1) and interval.excludes(1.1)


@pytest.mark.parametrize(("rows", "told"), [(5, None), (6, 1.0), (30, 0.2), (60, 0.1), (600, 0.01)])
def test_the_smallest_difference_that_rows_can_show_is_six_of_them(rows: int, told: float | None) -> None:
    assert smallest_share_told(rows) == told


@pytest.mark.parametrize(("rows", "t"), [(4, 3.182), (6, 2.571), (10, 2.262), (31, 2.042), (121, 1.980)])
def test_the_smallest_effect_that_rows_can_show_follows_students_t(rows: int, t: float) -> None:
    assert smallest_effect_told(rows) == pytest.approx(t / rows**0.5, rel=0.02)
    assert smallest_effect_told(3) is None
