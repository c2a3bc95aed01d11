from __future__ import annotations

from collections.abc import Callable

import pytest

from fewtune.data.encode import Encoded
from fewtune.engine import devices
from fewtune.engine.base_model import BaseModel
from fewtune.engine.likelihood import measure
from fewtune.engine.speed import tokens_per_second
from fewtune.types import Plan


@pytest.mark.parametrize("trials", [1, 3])
def test_measuring_the_speed_leaves_the_base_as_it_was(
    llama: BaseModel, encode: Callable[[BaseModel], tuple[Encoded, ...]], trials: int
) -> None:
    rows = encode(llama)
    before = measure(llama, rows)
    assert tokens_per_second(llama, rows, Plan(learning_rate=0.1), trials) > 0
    assert measure(llama, rows) == before


def test_the_device_is_named_with_its_number_format() -> None:
    assert "fp32" in devices.name() or "bf16" in devices.name()
