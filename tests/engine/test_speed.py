from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import count
from types import SimpleNamespace

import pytest

from fewtune.data.encode import Encoded
from fewtune.engine import speed
from fewtune.engine.base_model import BaseModel
from fewtune.engine.likelihood import measure
from fewtune.engine.speed import tokens_per_second
from fewtune.engine.trainer import Event, train
from fewtune.engine.training import Training
from fewtune.schedule.order import steps_per_epoch
from fewtune.types import Plan


@pytest.mark.parametrize("trials", [1, 3])
def test_measuring_the_speed_leaves_the_base_as_it_was(
    llama: BaseModel, encode: Callable[[BaseModel], tuple[Encoded, ...]], trials: int
) -> None:
    rows = encode(llama)
    before = measure(llama, rows)
    assert tokens_per_second(llama, rows, Plan(learning_rate=0.1), trials) > 0
    assert measure(llama, rows) == before


def test_the_speed_is_measured_for_a_fifth_of_a_second_unless_the_plan_ends_before(
    llama: BaseModel, encode: Callable[[BaseModel], tuple[Encoded, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that moves a sixteenth of a second each time that it is read, so that each part takes as long."""
    rows, reached = encode(llama), list[int]()

    def told(_base: BaseModel, trainings: Mapping[str, Training], targets: Mapping[str, int]) -> Iterator[Event]:
        reached.append(max(targets.values()))
        return train(_base, trainings, targets)

    ticks = count()
    monkeypatch.setattr(speed, "train", told)
    monkeypatch.setattr(speed, "time", SimpleNamespace(perf_counter=lambda: 0.0625 * next(ticks)))
    steps = steps_per_epoch(len(rows), 1)
    tokens_per_second(llama, rows, Plan(learning_rate=0.1, batch_size=1, epochs=100), 1)
    tokens_per_second(llama, rows, Plan(learning_rate=0.1, batch_size=1, epochs=1), 1)
    assert reached == [1, 3, 7, 15, 31, *(step for step in (1, 3, 7, 15) if step < steps), steps]
