from __future__ import annotations

from collections.abc import Callable

import torch

from fewtune.data.encode import Encoded
from fewtune.engine.base_model import BaseModel
from fewtune.engine.likelihood import measure
from fewtune.engine.speed import device_name, threads_for, tokens_per_second
from fewtune.types import Plan


def test_a_small_base_gets_one_thread_and_the_callers_number_comes_back(llama: BaseModel) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with threads_for(llama):
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_measuring_the_speed_leaves_the_base_as_it_was(
    llama: BaseModel, encode: Callable[[BaseModel], tuple[Encoded, ...]]
) -> None:
    rows = encode(llama)
    before = measure(llama, rows)
    assert tokens_per_second(llama, rows, Plan(learning_rate=0.1)) > 0
    assert measure(llama, rows) == before


def test_the_device_is_named_with_its_number_format() -> None:
    assert "fp32" in device_name() or "bf16" in device_name()
