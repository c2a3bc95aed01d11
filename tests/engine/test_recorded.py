"""How a pass is filled up and reused, without a GPU: what would be replayed is computed again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from fewtune.data.encode import Encoded
from fewtune.engine import losses
from fewtune.engine.base_model import BaseModel
from fewtune.engine.gradient import Adapters, Share, gradient
from fewtune.engine.lora import Adapter
from fewtune.engine.recorded import RecordedPass, Recordings, size_of

Encode = Callable[[BaseModel], tuple[Encoded, ...]]


@pytest.fixture
def recording(llama: BaseModel, monkeypatch: pytest.MonkeyPatch) -> BaseModel:
    """The llama, recording on the CPU."""

    def record(recorded: Any, _pool: object) -> None:
        runs = recorded._run, recorded._run_back
        recorded._graphs = tuple(SimpleNamespace(replay=run) for run in runs)

    monkeypatch.setattr(torch.cuda, "graph_pool_handle", object)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (20, 24))
    monkeypatch.setattr(RecordedPass, "record", record)
    base = replace(llama)
    base.__dict__["recordings"] = Recordings()
    return base


def share(slot: int, *examples: Encoded) -> Share:
    total = losses.weight(examples, 0.1)
    return Share(slot=slot, examples=examples, total=total, prompt_loss_weight=0.1, beta=0.1, reference=None)


def recordings(base: BaseModel) -> Recordings:
    assert base.recordings
    return base.recordings


@pytest.mark.parametrize("count", [1, 3])
def test_filled_up_and_replayed_a_pass_gives_what_it_gives_plain(
    recording: BaseModel, llama: BaseModel, encode: Encode, random_adapter: Callable[..., Adapter], count: int
) -> None:
    rows = encode(llama)
    for turn in range(5):
        flats = [random_adapter(llama, seed=10 * turn + slot).flat for slot in range(count)]
        adapters = Adapters(weights=torch.stack(flats), scales=(0.5 + turn,) * count, rank=4, first=0)
        shares = [share(slot, rows[(2 * slot + turn) % 7], rows[(2 * slot + turn + 1) % 7]) for slot in range(count)]
        (ours, told), (expected, exact) = (gradient(base, adapters, shares) for base in (recording, llama))
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-6)
        assert [one.answer_loss for one in told] == pytest.approx([one.answer_loss for one in exact], rel=1e-5)
    assert recordings(recording).sizes


def test_a_size_has_room_for_a_filler_and_little_more() -> None:
    for real in (1, 63, 64, 65, 1000, 3884, 4096, 16384):
        size = size_of([real - real // 2, real // 2]) if real > 1 else size_of([1])
        assert real < size.tokens <= real + max(64, real // 16)
        assert size.longest >= max(real - real // 2, size.tokens - real)


def sizes(kept: Recordings) -> list[int]:
    return sorted(size.tokens for size in kept.sizes)


class TestWhatIsKept:
    @pytest.fixture
    def ask(self, recording: BaseModel, random_adapter: Callable[..., Adapter]) -> Callable[..., RecordedPass]:
        def find(tokens: int, count: int = 2) -> RecordedPass:
            like = random_adapter(recording)
            return recordings(recording).find(recording.body, like, count, [tokens])

        return find

    def test_a_size_is_recorded_when_it_comes_again(self, ask: Callable[..., RecordedPass]) -> None:
        assert not ask(100).recorded
        assert ask(101).recorded

    def test_the_largest_pass_takes_the_memory_of_all_others_where_it_is_short(
        self, recording: BaseModel, ask: Callable[..., RecordedPass], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (10, 24))
        for tokens in (300, 300, 100, 100, 500):
            ask(tokens)
        assert sizes(recordings(recording)) == [128, 320]
        ask(500)
        assert sizes(recordings(recording)) == [512]
        for tokens in (100, 300):
            ask(tokens)
        assert sizes(recordings(recording)) == [128, 320, 512]

    def test_where_memory_abounds_a_larger_pass_is_recorded_beside_the_others(
        self, recording: BaseModel, ask: Callable[..., RecordedPass]
    ) -> None:
        for tokens in (100, 100, 500, 500):
            ask(tokens)
        assert sizes(recordings(recording)) == [128, 512]

    def test_other_adapters_begin_anew(self, recording: BaseModel, ask: Callable[..., RecordedPass]) -> None:
        ask(100), ask(100)
        assert not ask(100, count=3).recorded
        assert sizes(recordings(recording)) == []

    def test_what_cannot_be_recorded_is_said_once_and_computed(
        self, ask: Callable[..., RecordedPass], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object) -> None:
            raise RuntimeError("not permitted")

        monkeypatch.setattr(RecordedPass, "record", fail)
        ask(100)
        with pytest.warns(UserWarning, match="not permitted"):
            assert not ask(100).recorded
        assert not ask(100).recorded

    def test_where_memory_ends_recordings_are_given_up(
        self, recording: BaseModel, ask: Callable[..., RecordedPass]
    ) -> None:
        ask(100), ask(100)
        kept = recordings(recording)
        assert kept.give_up()
        assert not kept.give_up()
        ask(100)
        assert not ask(100).recorded
