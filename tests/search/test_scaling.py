from __future__ import annotations

from statistics import fmean

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewtune.search.scaling import DRAWS, SHARES, Size, outlook, parts


def measured(
    seed: int, exponent: float, scale: float = 0.4, luck: float = 0.01, noise: float = 0.15, rows: int = 20
) -> list[Size]:
    """Losses at a quarter, a half and all of 84 rows; `scale` of the loss at 84 could be learnt away with ever more.

    Rows differ in how hard they are and in how much each size helps them; a training has luck, the more the fewer rows.
    """
    chance = np.random.default_rng(seed)
    hardness = chance.normal(2.0, 0.5, size=rows)
    sizes: list[Size] = []
    for share, draws in ((0.25, 2), (0.5, 2), (1.0, 1)):
        level = hardness + scale * share**-exponent + chance.normal(0.0, noise, size=rows)
        lines = (
            level + chance.normal(0.0, luck / share**0.5) + chance.normal(0.0, noise / 2, size=rows)
            for _ in range(draws)
        )
        sizes.append(Size(rows=round(84 * share), losses=tuple(tuple(map(float, line)) for line in lines)))
    return sizes


CURVES = [(exponent, luck) for exponent in (0.1, 0.2, 0.5, 1.0) for luck in (0.0, 0.01, 0.03)]


def coverage(exponent: float, luck: float, seeds: int) -> float:
    """How often the interval holds what twice the data really brings."""
    truth = 0.4 * (1 - 2**-exponent)
    found = [outlook(measured(seed, exponent, luck=luck), resamples=400, seed=seed).interval for seed in range(seeds)]
    return fmean(one.low <= truth <= one.high for one in found)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    found = [coverage(exponent, luck, seeds=20) for exponent, luck in CURVES]
    assert fmean(found) >= 0.93
    assert min(found) >= 0.83


@pytest.mark.slow
def test_the_interval_covers_the_truth_about_as_often_as_it_says_on_each_curve() -> None:
    found = {curve: coverage(*curve, seeds=200) for curve in CURVES}
    assert min(found.values()) >= 0.92, found


def test_the_interval_is_not_so_wide_that_it_says_nothing() -> None:
    told = [outlook(measured(seed, 0.5), resamples=400).can_be_told for seed in range(30)]
    assert fmean(told) >= 0.8
    never = [outlook(measured(seed, 0.5, scale=0.0), resamples=400).can_be_told for seed in range(30)]
    assert fmean(never) <= 0.15


def test_the_luck_of_trainings_widens_the_interval() -> None:
    widths = [
        fmean(
            (one := outlook(measured(seed, 0.2, luck=luck), resamples=400).interval).high - one.low
            for seed in range(20)
        )
        for luck in (0.0, 0.05)
    ]
    assert widths[1] > 1.5 * widths[0]


def test_a_clear_gain_is_told_with_its_interval_in_as_many_digits_as_it_deserves() -> None:
    found = outlook(measured(1, 0.5, scale=0.6, noise=0.02, rows=40))
    assert found.can_be_told
    gain, half = str(found).removeprefix("Twice the data would lower the loss by ").removesuffix(".").split(" ± ")
    assert float(gain) == pytest.approx(0.6 * (1 - 2**-0.5), abs=float(half))
    assert len(gain) == len(half) <= 5
    assert float(half) < float(gain)


def test_noise_cannot_be_told_and_a_rising_loss_is_not_called_a_gain() -> None:
    assert (
        str(outlook(measured(1, 0.5, scale=0.0, noise=0.5)))
        == "Whether twice the data would lower the loss cannot be told."
    )
    assert str(outlook(measured(1, 0.5, scale=-0.6, noise=0.02))) == "Twice the data would not lower the loss."


def test_too_few_sizes_or_single_trainings_make_no_interval() -> None:
    sizes = measured(1, 0.5)
    with pytest.raises(ValueError, match="three sizes"):
        outlook(sizes[:2])
    with pytest.raises(ValueError, match="two trainings"):
        outlook([Size(rows=one.rows, losses=one.losses[:1]) for one in sizes])


@given(st.lists(st.integers(0, 10_000), min_size=4, max_size=60, unique=True), st.integers(0, 100))
def test_draws_have_no_row_in_common_and_a_quarter_lies_within_a_half(rows: list[int], seed: int) -> None:
    drawn = {share: parts(rows, share, DRAWS, seed) for share in SHARES}
    for share, found in drawn.items():
        assert [len(one) for one in found] == [max(1, int(share * len(rows)))] * DRAWS
        assert len({row for one in found for row in one}) == sum(map(len, found))
        assert all(list(one) == [row for row in rows if row in one] for one in found)
    assert all(set(quarter) <= set(half) for quarter, half in zip(drawn[0.25], drawn[0.5], strict=True))


def test_draws_that_do_not_fit_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="in common"):
        parts(range(10), 0.6, 2, seed=0)
