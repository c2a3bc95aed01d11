from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewtune.schedule.order import batch_at, epoch_order, steps_per_epoch

rows, seeds, epochs = st.integers(1, 60), st.integers(0, 2**40), st.integers(0, 20)


@given(rows, seeds, epochs)
def test_an_epoch_reads_each_row_once_in_an_order_fixed_by_its_seed(rows: int, seed: int, epoch: int) -> None:
    order = epoch_order(rows, seed, epoch)
    assert sorted(order) == list(range(rows))
    assert epoch_order(rows, seed, epoch) == order


def test_the_order_is_the_same_on_every_machine() -> None:
    assert epoch_order(8, 0, 0) == (4, 5, 0, 7, 2, 3, 1, 6)
    assert epoch_order(8, 0, 1) == (5, 6, 4, 2, 0, 7, 3, 1)
    assert epoch_order(8, 1, 0) == (2, 5, 7, 4, 6, 0, 3, 1)


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    orders = {epoch_order(30, seed, epoch) for seed in range(10) for epoch in range(10)}
    assert len(orders) == 100


@given(rows, st.integers(1, 70), seeds, st.integers(1, 4))
def test_the_steps_of_an_epoch_together_read_each_row_once(rows: int, batch: int, seed: int, epochs: int) -> None:
    steps = steps_per_epoch(rows, batch)
    assert steps == math.ceil(rows / batch)
    for epoch in range(epochs):
        batches = [batch_at(range(rows), batch, seed, epoch * steps + step) for step in range(steps)]
        assert tuple(position for one in batches for position in one) == epoch_order(rows, seed, epoch)
        assert all(len(one) == batch for one in batches[:-1])
        assert 1 <= len(batches[-1]) <= batch


@pytest.mark.parametrize("step", [0, 3, 7])
def test_a_batch_is_made_of_the_items_themselves(step: int) -> None:
    items = ["a", "b", "c", "d", "e"]
    assert set(batch_at(items, 2, 0, step)) <= set(items)
