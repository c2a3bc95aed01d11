from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from fewtune.search.reading import Reading, curve, curves
from fewtune.search.stopping import has_turned, is_above_median, until_turned


def scores(values: Sequence[float], candidate: int = 0) -> tuple[Reading, ...]:
    return tuple(Reading(candidate=candidate, epochs=place, score=value) for place, value in enumerate(values, start=1))


@pytest.mark.parametrize(
    ("values", "turned"),
    [([], False), ([1.0], False), ([1.0, 1.1], False), ([1.0, 1.1, 1.0], True), ([1.0, 1.1, 0.9], False)],
)
def test_a_curve_has_turned_when_the_last_validations_brought_nothing_new(values: list[float], turned: bool) -> None:
    assert has_turned(scores(values), 2) is turned


def rows(*readings: Sequence[float]) -> tuple[Reading, ...]:
    return tuple(
        Reading(candidate=0, epochs=place, score=sum(values) / len(values), rows=tuple(values))
        for place, values in enumerate(readings, start=1)
    )


def test_one_reading_is_enough_where_it_has_risen_beyond_doubt() -> None:
    best = [1.0, 2.0, 3.0, 4.0, 5.0]
    risen, doubtful = [1.5, 2.6, 3.4, 4.5, 5.6], [3.0, 0.5, 4.5, 3.0, 6.0]
    assert has_turned(rows(best, risen), 2)
    assert not has_turned(rows(best, doubtful), 2)
    assert not has_turned(rows(risen, best), 2)
    assert not has_turned(rows(best, [math.inf] * 5), 2)
    assert len(until_turned(rows(best, risen, best), 2)) == 2


def test_a_curve_told_twice_is_one_curve_in_order() -> None:
    told = [*scores([1.0, 0.5]), *scores([1.0])[::-1], *scores([3.0], 1)]
    assert [one.score for one in curve(told, 0)] == [1.0, 0.5]
    assert set(curves(told)) == {0, 1}


def test_the_median_rule_compares_the_best_so_far_with_the_means_of_the_others() -> None:
    others = {name: scores([4.0, 2.0], name) for name in range(1, 5)}
    assert is_above_median(0, {0: scores([5.0, 3.1]), **others}, 2)
    assert not is_above_median(0, {0: scores([5.0, 3.0]), **others}, 2)
    assert not is_above_median(0, {0: scores([2.9, 5.0, 9.0]), **others}, 2)


def test_the_median_rule_says_nothing_before_four_others_have_come_as_far() -> None:
    behind = {name: scores([1.0], name) for name in range(1, 9)}
    along = {name: scores([1.0, 1.0], name) for name in range(9, 12)}
    assert not is_above_median(0, {0: scores([9.0, 9.0]), **behind, **along}, 2)
    assert is_above_median(0, {0: scores([9.0, 9.0]), **behind, **along, 12: scores([1.0, 1.0], 12)}, 2)


def test_a_curve_that_failed_is_worse_than_any_other() -> None:
    failed = {name: scores([1.0, math.nan], name) for name in range(1, 5)}
    assert not is_above_median(0, {0: scores([9.0, 9.0]), **failed}, 2)
