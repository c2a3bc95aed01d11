from __future__ import annotations

from dataclasses import replace

from fewtune.schedule.branches import trunks
from fewtune.types import Plan

PLAN = Plan(learning_rate=0.1)


def of(*epochs: int, **changed: float) -> list[Plan]:
    return [replace(PLAN, epochs=count, **changed) for count in epochs]


def test_plans_that_differ_in_epochs_alone_are_one_trunk_to_the_longest() -> None:
    (trunk,) = trunks(of(2, 4, 1))
    assert trunk.plan == replace(PLAN, epochs=4)
    assert trunk.members == tuple(of(1, 2, 4))


def test_any_other_difference_makes_another_trunk() -> None:
    others = [{"learning_rate": 0.2}, {"batch_size": 8}, {"rank": 4}, {"alpha": 4}, {"prompt_loss_weight": 0.1}]
    plans = [*of(1, 2), *(plan for changed in others for plan in of(1, 2, **changed))]
    grouped = trunks(plans)
    assert len(grouped) == 6
    assert all(len(trunk.members) == 2 for trunk in grouped)


def test_trunks_keep_the_order_in_which_they_first_appear() -> None:
    plans = [*of(1, learning_rate=0.3), *of(1, learning_rate=0.1), *of(2, learning_rate=0.3)]
    assert [trunk.plan.learning_rate for trunk in trunks(plans)] == [0.3, 0.1]


def test_a_plan_with_a_cooldown_is_a_trunk_of_its_own() -> None:
    grouped = trunks([*of(1, 2, 4, cooldown=0.2), *of(1, 2)])
    assert [trunk.members for trunk in grouped] == [
        *[(plan,) for plan in of(1, 2, 4, cooldown=0.2)],
        tuple(of(1, 2)),
    ]


def test_a_plan_given_twice_is_trained_once() -> None:
    assert trunks([*of(1, 1), *of(2, 2, cooldown=0.5)]) == trunks([*of(1), *of(2, cooldown=0.5)])


def test_no_plan_is_no_trunk() -> None:
    assert trunks([]) == ()
