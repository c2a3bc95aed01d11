from __future__ import annotations

from collections.abc import Sequence

import pytest

from fewtune.search.reading import Reading, curve, curves
from fewtune.search.stopping import has_turned


def scores(values: Sequence[float], candidate: int = 0) -> tuple[Reading, ...]:
    return tuple(Reading(candidate=candidate, epochs=place, score=value) for place, value in enumerate(values, start=1))


@pytest.mark.parametrize(
    ("values", "turned"),
    [([], False), ([1.0], False), ([1.0, 1.1], False), ([1.0, 1.1, 1.0], True), ([1.0, 1.1, 0.9], False)],
)
def test_a_curve_has_turned_when_the_last_validations_brought_nothing_new(values: list[float], turned: bool) -> None:
    assert has_turned(scores(values), 2) is turned


def test_a_curve_told_twice_is_one_curve_in_order() -> None:
    told = [*scores([1.0, 0.5]), *scores([1.0])[::-1], *scores([3.0], 1)]
    assert [one.score for one in curve(told, 0)] == [1.0, 0.5]
    assert set(curves(told)) == {0, 1}


def test_a_share_of_right_answers_that_stands_still_has_not_turned_while_the_loss_falls() -> None:
    falling = [Reading(candidate=1, epochs=n, score=0.5, loss=3.0 - n) for n in range(1, 5)]
    assert not has_turned(falling, 2)
    assert has_turned([Reading(candidate=1, epochs=n, score=0.5, loss=3.0) for n in range(1, 5)], 2)
