from __future__ import annotations

import pytest

from fewtune.errors import UsageError
from fewtune.search.space import grid, parse_list
from fewtune.types import Plan

PLAN = Plan(learning_rate=1e-3, rank=4)


def test_a_list_is_read_in_order_with_repeated_values_once() -> None:
    assert parse_list("--epochs", "8, 2,8,4,", int) == (8, 2, 4)
    assert parse_list("--learning-rate", "1e-3,0.001, 3e-3", float) == (0.001, 0.003)


@pytest.mark.parametrize("text", ["", " ", ",,"])
def test_an_empty_list_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match=r"--epochs is empty.*--epochs 4,8"):
        parse_list("--epochs", text, int)


@pytest.mark.parametrize(
    ("text", "nearest"),
    [("0", "Use --epochs 1"), ("-3", "Use --epochs 1"), ("4.6", "Use --epochs 5"), ("0.2", "Use --epochs 1")],
)
def test_a_count_that_does_not_work_is_answered_with_the_nearest_that_does(text: str, nearest: str) -> None:
    with pytest.raises(UsageError, match=nearest):
        parse_list("--epochs", f"2,{text}", int)


@pytest.mark.parametrize("text", ["four", "1;2", "0x10"])
def test_a_word_is_no_count(text: str) -> None:
    with pytest.raises(UsageError, match=r"whole number.*--batch-size 4,8"):
        parse_list("--batch-size", text, int)


@pytest.mark.parametrize(
    ("text", "nearest"),
    [("0", "1e-3"), ("-1e-3", "1e-3"), ("nan", "1e-3"), ("10", "1e-3"), ("3e3", "3e-3"), ("inf", "1e-3")],
)
def test_a_learning_rate_that_cannot_train_is_refused(text: str, nearest: str) -> None:
    with pytest.raises(UsageError, match=f"--learning-rate has .*Use --learning-rate {nearest}"):
        parse_list("--learning-rate", text, float)


def test_the_grid_holds_every_combination_once_and_keeps_the_rest_of_the_plan() -> None:
    plans = grid(PLAN, epochs=(2, 4, 2), batch_sizes=(1, 8), learning_rates=(1e-3, 3e-3), rows=20)
    assert len(plans) == len(set(plans)) == 8
    assert all(plan.rank == 4 for plan in plans)
    assert {plan.epochs for plan in plans} == {2, 4}


def test_plans_that_share_a_trunk_stand_together() -> None:
    plans = grid(PLAN, epochs=(2, 4), batch_sizes=(1, 8), learning_rates=(1e-3, 3e-3), rows=20)
    for first, second in zip(plans[::2], plans[1::2], strict=True):
        assert (first.batch_size, first.learning_rate) == (second.batch_size, second.learning_rate)


@pytest.mark.parametrize(
    ("axis", "values", "fix"),
    [
        ("epochs", (1001,), "Use --epochs 1000"),
        ("epochs", (0,), "Use --epochs 1"),
        ("epochs", (), "--epochs has no value"),
        ("batch_sizes", (4, 21), "Use --batch-size 20"),
        ("batch_sizes", (-1,), "Use --batch-size 1"),
        ("learning_rates", (0.0,), "--learning-rate 1e-3"),
        ("learning_rates", (50.0,), "--learning-rate 5e-3"),
    ],
)
def test_the_grid_refuses_what_cannot_be_trained(axis: str, values: tuple[float, ...], fix: str) -> None:
    axes = {"epochs": (4,), "batch_sizes": (4,), "learning_rates": (1e-3,), axis: values}
    with pytest.raises(UsageError, match=fix):
        grid(PLAN, **axes, rows=20)
