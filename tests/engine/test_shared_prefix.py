from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from fewtune.data.encode import Encoded
from fewtune.engine import likelihood, sampler
from fewtune.engine.base_model import BaseModel
from fewtune.engine.continuation import Continuation, Prompt
from fewtune.engine.likelihood import measure
from fewtune.engine.lora import Adapter
from fewtune.engine.sampler import generate
from fewtune.engine.shared_prefix import shared_length
from standin.tiny_models import FAMILIES, MIXTURES

SHOTS = (("What is the capital of Norway?", "Oslo."), ("And of Egypt?", "Cairo."))
QUESTIONS = [f"And {'what, ' * (number % 4)}dear friend, is that of country {number}?" for number in range(12)]


@pytest.fixture(params=[*FAMILIES, *MIXTURES])
def family(request: pytest.FixtureRequest) -> str:
    return request.param


def prompts(base: BaseModel, adapter: Adapter | None = None) -> list[Prompt]:
    return [
        Prompt(id=number, ids=base.encoder.prompt(text, SHOTS), max_tokens=9, adapter=adapter, alternatives=0)
        for number, text in enumerate(QUESTIONS)
    ]


def scored(base: BaseModel) -> list[Encoded]:
    return [base.encoder.scored(text, f"City {row}.", SHOTS, row=row) for row, text in enumerate(QUESTIONS)]


def tokens(events: Iterator[object]) -> dict[int, tuple[int, ...]]:
    ended = [event for event in events if isinstance(event, Continuation)]
    return {one.id: tuple(choice.token for choice in one.choices) for one in ended}


def test_rows_that_share_their_beginning_write_what_each_writes_alone(
    base: BaseModel, random_adapter: Callable[..., Adapter], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    real = sampler.read_prefix
    monkeypatch.setattr(sampler, "read_prefix", lambda *given: (read.append(len(given[1])), real(*given))[1])
    monkeypatch.setattr(sampler, "ROWS_AT_ONCE", 3)
    for adapter in (None, random_adapter(base)):
        given = prompts(base, adapter)
        alone = {one.id: tokens(generate(base, [one]))[one.id] for one in given}
        assert tokens(generate(base, given)) == alone
        assert tokens(generate(base, given[:5])) == {number: alone[number] for number in range(5)}
    assert len(read) == 4
    assert min(read) > 10


def test_of_several_adapters_each_has_its_own_prefix(llama: BaseModel, random_adapter: Callable[..., Adapter]) -> None:
    some = [None, random_adapter(llama, seed=1), random_adapter(llama, rank=2, seed=2)]
    given = [replace(one, adapter=some[one.id % 3]) for one in prompts(llama)]
    alone = {one.id: tokens(generate(llama, [one]))[one.id] for one in given}
    assert tokens(generate(llama, given)) == alone
    assert len(set(alone.values())) > 3


def test_likelihoods_after_a_shared_beginning_are_those_of_whole_rows(
    base: BaseModel, random_adapter: Callable[..., Adapter], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = scored(base)
    assert likelihood._shared([(row, None) for row in rows]) > 10
    for adapter in (None, random_adapter(base)):
        whole = {row.row: measure(base, [row], adapter)[0] for row in rows}
        for found in measure(base, rows, adapter):
            assert found.log_likelihoods == pytest.approx(whole[found.row].log_likelihoods, abs=2e-5)
            assert found.greedy == whole[found.row].greedy


def counting(end: int, *more: int) -> tuple[int, ...]:
    return (*range(end), *more)


def test_a_token_of_every_row_is_left_to_be_read() -> None:
    assert shared_length([counting(100), counting(100)]) == 99
    assert shared_length([counting(100), counting(80)]) == 79
    assert shared_length([counting(80), counting(70, 5, 6)]) == 70


def test_what_saves_little_is_not_read_apart() -> None:
    assert shared_length([]) == shared_length([counting(500)]) == 0
    assert shared_length([(0, *counting(63)), (1, *counting(63))]) == 0
    assert shared_length([counting(40, 1), counting(40, 2)]) == 0
    assert shared_length([counting(40, 1), counting(40, 2), counting(40, 3)]) == 40
