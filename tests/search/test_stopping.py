from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from fewtune.search.reading import Reading, curve, curves
from fewtune.search.stopping import has_turned, is_below_median


def scores(values: Sequence[float], candidate: int = 0) -> tuple[Reading, ...]:
    return tuple(Reading(candidate=candidate, epochs=place, score=value) for place, value in enumerate(values, start=1))


@pytest.mark.parametrize(
    ("values", "turned"),
    [([], False), ([1.0], False), ([1.0, 1.1], False), ([1.0, 1.1, 1.0], True), ([1.0, 1.1, 0.9], False)],
)
def test_a_curve_has_turned_when_the_last_validations_brought_nothing_new(values: list[float], turned: bool) -> None:
    assert has_turned(scores(values), 2) is turned


def test_what_is_worse_than_half_of_the_others_is_stopped_once_four_have_come_as_far() -> None:
    known = {number: scores([1.0, 0.5], number) for number in range(1, 5)}
    assert is_below_median(0, {0: scores([2.0, 0.8]), **known})
    assert not is_below_median(0, {0: scores([2.0, 0.7]), **known})
    known[4] = scores([1.0], 4)
    assert not is_below_median(0, {0: scores([2.0, 1.9]), **known})


def test_a_failed_training_counts_as_worse_than_any() -> None:
    known = {number: scores([math.nan, math.nan], number) for number in range(1, 5)}
    assert not is_below_median(0, {0: scores([2.0, 9.0]), **known})


def test_a_curve_told_twice_is_one_curve_in_order() -> None:
    told = [*scores([1.0, 0.5]), *scores([1.0])[::-1], *scores([3.0], 1)]
    assert [one.score for one in curve(told, 0)] == [1.0, 0.5]
    assert set(curves(told)) == {0, 1}
