from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewtune.schedule.rates import learning_rate
from fewtune.types import Plan

PLAN = Plan(learning_rate=0.4, warmup_steps=4, cooldown=0.5)


def rates(plan: Plan, steps: int) -> list[float]:
    return [learning_rate(plan, step, steps) for step in range(steps)]


def test_warm_up_rises_evenly_to_the_peak_which_its_last_step_has() -> None:
    assert rates(replace(PLAN, cooldown=0.0), 6) == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4, 0.4])


def test_without_warm_up_and_cooldown_the_rate_is_constant() -> None:
    assert rates(replace(PLAN, warmup_steps=0, cooldown=0.0), 5) == [0.4] * 5


def test_the_cooldown_falls_as_one_minus_the_square_root() -> None:
    cooled = rates(replace(PLAN, warmup_steps=0), 8)
    assert cooled[:5] == [0.4] * 5
    assert cooled[5:] == pytest.approx([0.4 * (1 - math.sqrt(done / 4)) for done in (1, 2, 3)])


def test_a_cooldown_over_the_whole_training_begins_at_once() -> None:
    cooled = rates(replace(PLAN, warmup_steps=0, cooldown=1.0), 4)
    assert cooled == pytest.approx([0.4, 0.2, 0.4 * (1 - math.sqrt(0.5)), 0.4 * (1 - math.sqrt(0.75))])


def test_a_training_shorter_than_its_warm_up_stays_below_the_peak() -> None:
    assert rates(replace(PLAN, warmup_steps=10, cooldown=0.0), 3) == pytest.approx([0.04, 0.08, 0.12])


@given(st.integers(0, 20), st.floats(0, 1), st.integers(1, 200))
def test_the_rate_rises_then_stays_then_falls_and_is_never_zero_nor_above_the_peak(
    warmup: int, cooldown: float, steps: int
) -> None:
    values = rates(replace(PLAN, warmup_steps=warmup, cooldown=cooldown), steps)
    assert all(0 < value <= 0.4 for value in values)
    changes = [after - before for before, after in pairwise(values)]
    if warmup <= steps * (1 - cooldown):
        falling = [change < -1e-12 for change in changes]
        assert falling == sorted(falling)


@given(st.integers(20, 400), st.floats(0.1, 1.0))
def test_no_step_of_the_cooldown_jumps_further_than_its_first(steps: int, cooldown: float) -> None:
    values = rates(replace(PLAN, warmup_steps=0, cooldown=cooldown), steps)
    # 1 - sqrt is steepest where it begins.
    largest = 0.4 * math.sqrt(1 / (cooldown * steps))
    assert all(before - after <= largest + 1e-12 for before, after in pairwise(values))


def test_without_cooldown_the_rate_does_not_depend_on_the_number_of_steps() -> None:
    plan = replace(PLAN, cooldown=0.0)
    assert rates(plan, 5) == rates(plan, 50)[:5]
