from __future__ import annotations

import os
import resource
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fewtune.data.encode import Encoded
from fewtune.engine import base_model, prefix
from fewtune.engine.base_model import BaseModel
from fewtune.engine.prefix import Prefixes
from fewtune.engine.trainer import Event, Progress
from fewtune.engine.training import Training
from fewtune.errors import UnfinishedError
from fewtune.types import Plan

Encode = Callable[[BaseModel], tuple[Encoded, ...]]

UPPER = Plan(learning_rate=1e-2, epochs=3, batch_size=2, rank=4, adapt_top=0.5)


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[Encoded]:
    """The examples whose activations were computed, not remembered."""
    seen: list[Encoded] = []
    compute = prefix._compute

    def spy(body: object, example: Encoded, first: int) -> torch.Tensor:
        seen.append(example)
        return compute(body, example, first)  # type: ignore[arg-type]

    monkeypatch.setattr(prefix, "_compute", spy)
    return seen


class TestPrefixes:
    def test_an_example_is_computed_once_and_has_the_same_numbers_beside_any_other(
        self, llama: BaseModel, encode: Encode, computed: list[Encoded]
    ) -> None:
        rows, kept = encode(llama), Prefixes(2**20)
        alone = [kept.of(llama.body, [row], 1) for row in rows]
        together = kept.of(llama.body, rows[::-1], 1)
        assert torch.equal(together, torch.cat(alone[::-1]))
        assert computed == list(rows)
        assert not together.requires_grad

    @pytest.mark.parametrize("limit", [0, 5000])
    def test_beyond_the_limit_they_are_kept_in_files_with_the_same_numbers(
        self, llama: BaseModel, encode: Encode, computed: list[Encoded], scratch: Path, limit: int
    ) -> None:
        rows = encode(llama)
        in_memory = Prefixes(2**30).of(llama.body, rows, 1)
        kept = Prefixes(limit)
        assert torch.equal(kept.of(llama.body, rows, 1), in_memory)
        assert torch.equal(kept.of(llama.body, rows, 1), in_memory)
        assert len(computed) == 2 * len(rows)

    def test_what_is_in_files_has_no_name_there_so_that_a_killed_process_leaves_none(
        self, llama: BaseModel, encode: Encode, scratch: Path
    ) -> None:
        kept = Prefixes(0)
        kept.of(llama.body, encode(llama), 1)
        assert list(scratch.iterdir()) == []
        maps = Path("/proc/self/maps")
        if maps.exists():
            assert maps.read_text().count(str(scratch)) == 7
            del kept
            assert str(scratch) not in maps.read_text()

    def test_a_full_disk_asks_to_be_run_again(self, llama: BaseModel, encode: Encode, scratch: Path) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
        try:
            with pytest.raises(UnfinishedError, match="disk is full"):
                Prefixes(0).of(llama.body, encode(llama), 1)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert list(scratch.iterdir()) == []

    def test_bf16_keeps_its_bits_in_a_file(self, scratch: Path) -> None:
        states = torch.randn(5, 8).to(torch.bfloat16)
        assert torch.equal(prefix._in_file(states), states)
        assert torch.equal(prefix._in_file(states.T), states.T)

    def test_threads_may_ask_at_once(self, llama: BaseModel, encode: Encode) -> None:
        rows, kept = encode(llama), Prefixes(3000)
        with ThreadPoolExecutor(4) as threads:
            found = list(threads.map(lambda _: kept.of(llama.body, rows, 1), range(8)))
        assert all(torch.equal(one, found[0]) for one in found)


class TestAdaptingTheTop:
    def test_a_training_that_spills_to_disk_is_the_same_in_every_bit(
        self,
        llama: BaseModel,
        begin_training: Callable[..., Training],
        finish: Callable[..., list[Event]],
        scratch: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        kept, spilled = (begin_training(llama, UPPER) for _ in range(2))
        events = finish(llama, {"t": kept})
        monkeypatch.setattr(base_model, "BYTES_IN_MEMORY", 1)
        assert finish(replace(llama), {"t": spilled}) == events
        assert torch.equal(spilled.adapter.flat, kept.adapter.flat)
        assert os.listdir(scratch) == []

    def test_the_lower_blocks_have_no_adapter_and_the_loss_falls(
        self, some_base: BaseModel, begin_training: Callable[..., Training], finish: Callable[..., list[Event]]
    ) -> None:
        training = begin_training(some_base, replace(UPPER, epochs=20, batch_size=5, learning_rate=2e-2))
        losses = [event.loss for event in finish(some_base, {"t": training}) if isinstance(event, Progress)]
        assert losses[-1] < 0.6 * losses[0]
        assert {group.layer for group in training.adapter.groups} == {1}
