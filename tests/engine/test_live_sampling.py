"""Prompts that come, and are withdrawn, while others are being written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain

import pytest
import torch

from fewtune.engine import sampler
from fewtune.engine.base_model import BaseModel
from fewtune.engine.continuation import Continuation, Piece, Prompt, Told, Withdrawal
from fewtune.engine.decoding import Decoder
from fewtune.engine.lora import Adapter
from fewtune.engine.sampler import ROWS_AT_ONCE, generate, passes

TEXT = "The capital of Norway is Oslo; and what, dear friend, is that of Egypt or of Kenya?"


def prompts_of(base: BaseModel, count: int, tokens: int = 12) -> list[Prompt]:
    return [
        Prompt(id=n, ids=base.encoder.prompt(TEXT[n % 7 : 9 + n * 13 % 70]), max_tokens=tokens, alternatives=1)
        for n in range(count)
    ]


def endings(events: Iterable[Told]) -> dict[int, Continuation]:
    return {event.id: event for event in events if isinstance(event, Continuation)}


def written(events: Iterable[Told]) -> dict[int, tuple[str, tuple[int, ...], str]]:
    return {
        id: (one.text, tuple(choice.token for choice in one.choices), one.stop_reason)
        for id, one in endings(events).items()
    }


class TestWithdrawal:
    def test_the_answer_ends_at_the_next_token_with_what_was_told_and_leaves_the_others(self, llama: BaseModel) -> None:
        first, second = prompts_of(llama, 2)
        alone = written(generate(llama, [second]))[1]

        def arriving() -> Iterator[Prompt | Withdrawal | None]:
            yield from (first, second, None, None, None)
            yield Withdrawal(id=0)

        events = list(generate(llama, arriving()))
        one = endings(events)[0]
        assert (one.stop_reason, one.tokens) == ("withdrawn", 3)
        assert "".join(event.text for event in events if isinstance(event, Piece) and event.id == 0) == one.text
        assert written(events)[1] == alone

    def test_its_row_is_free_for_another(self, llama: BaseModel, monkeypatch: pytest.MonkeyPatch) -> None:
        prompts = prompts_of(llama, ROWS_AT_ONCE + 1, tokens=30)
        rows: list[int] = []
        step = Decoder.step

        def counted(decoder: Decoder, tokens: Sequence[Sequence[int]]) -> torch.Tensor:
            rows.append(len(tokens))
            return step(decoder, tokens)

        def arriving() -> Iterator[Prompt | Withdrawal | None]:
            yield from prompts
            yield from [None] * 20
            yield Withdrawal(id=0)
            yield from [None] * 40

        monkeypatch.setattr(Decoder, "step", counted)
        ended = list(endings(generate(llama, arriving())))
        assert ended[0] == 0 and sorted(ended) == list(range(ROWS_AT_ONCE + 1))
        assert max(rows) == ROWS_AT_ONCE

    def test_one_that_waits_for_a_row_ends_without_a_token_at_once(self, llama: BaseModel) -> None:
        prompts = prompts_of(llama, ROWS_AT_ONCE + 3, tokens=30)

        def arriving() -> Iterator[Prompt | Withdrawal | None]:
            yield from prompts
            yield None
            yield Withdrawal(id=prompts[-1].id)

        found = endings(generate(llama, arriving()))
        one = found[prompts[-1].id]
        assert next(iter(found)) == one.id
        assert (one.stop_reason, one.tokens, one.text, one.prompt_tokens) == ("withdrawn", 0, "", len(prompts[-1].ids))
        assert len(found) == len(prompts)

    def test_one_whose_prompt_is_still_being_read_ends_too(
        self, llama: BaseModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sampler, "READ_AT_ONCE", 2)
        (prompt,) = prompts_of(llama, 1)
        found = endings(generate(llama, iter([prompt, None, Withdrawal(id=0)])))
        assert (found[0].stop_reason, found[0].tokens) == ("withdrawn", 0)

    def test_of_what_is_not_there_it_changes_nothing(self, llama: BaseModel) -> None:
        prompts = prompts_of(llama, 2)
        asks = iter([Withdrawal(id=0), None, *prompts, None, Withdrawal(id=7), *[None] * 40, Withdrawal(id=1)])
        assert written(generate(llama, asks)) == written(generate(llama, prompts))


class TestSlices:
    @pytest.mark.parametrize("length", [1, 3, 16, 1000])
    def test_a_prompt_read_in_slices_gets_the_answer_that_it_gets_when_read_at_once(
        self, some_base: BaseModel, random_adapter: Callable[..., Adapter], monkeypatch: pytest.MonkeyPatch, length: int
    ) -> None:
        adapter = random_adapter(some_base, rank=2)
        prompts = [replace(one, adapter=(None, adapter)[one.id % 2]) for one in prompts_of(some_base, 6)]
        expected = {one.id: written(generate(some_base, [one]))[one.id] for one in prompts}
        monkeypatch.setattr(sampler, "READ_AT_ONCE", length)
        assert written(generate(some_base, iter(prompts))) == expected

    def test_others_are_written_while_a_long_prompt_is_read(
        self, llama: BaseModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sampler, "READ_AT_ONCE", 8)
        short = Prompt(id=0, ids=llama.encoder.prompt("a"), max_tokens=40, alternatives=0)
        long = Prompt(id=1, ids=llama.encoder.prompt(TEXT), max_tokens=3)
        told = list(passes(llama, iter([short, None, long])))
        began = next(n for n, events in enumerate(told) if any(event.id == 1 for event in events))
        tokens = sum(len(event.choices) for event in chain(*told[:began]) if isinstance(event, Piece))
        assert tokens >= len(long.ids) // 8 - 1


@pytest.mark.parametrize("count", [1, 2])
def test_long_rows_among_short_ones_change_no_answer(
    some_base: BaseModel, random_adapter: Callable[..., Adapter], count: int
) -> None:
    adapter = random_adapter(some_base, rank=2)
    short = [replace(one, adapter=(None, adapter)[one.id % 2]) for one in prompts_of(some_base, 10, tokens=8)]
    ids = some_base.encoder.prompt(TEXT * 3)
    long = [Prompt(id=100 + n, ids=ids[n : 100 + n], max_tokens=8, alternatives=1) for n in range(count)]
    assert len(long[0].ids) == 100
    prompts = [*long, *short]
    alone = {one.id: written(generate(some_base, [one]))[one.id] for one in prompts}
    assert written(generate(some_base, iter(prompts))) == alone


class TestChoices:
    @pytest.mark.parametrize("stop", [(), ("e",), ("is", "of "), ("zzz",)])
    def test_those_of_the_pieces_are_those_of_the_answers_text_each_once_and_in_order(
        self, base: BaseModel, stop: tuple[str, ...]
    ) -> None:
        prompts = [replace(one, stop=stop, temperature=1.0, seed=one.id) for one in prompts_of(base, 12, tokens=30)]
        events = list(generate(base, iter(prompts)))
        for id, one in endings(events).items():
            told = [
                choice for event in events if isinstance(event, Piece) and event.id == id for choice in event.choices
            ]
            assert told == list(one.choices[: len(told)])
            text = base.encoder.answer([choice.token for choice in told])
            assert text.startswith(one.text)
            if not any(mark in base.encoder.answer([choice.token for choice in one.choices]) for mark in stop):
                assert len(told) == one.tokens
            elif told:
                # The last token, at least, has a part in the text.
                assert len(base.encoder.answer([choice.token for choice in told[:-1]])) <= len(one.text)

    def test_a_piece_tells_the_choices_of_its_own_text(self, llama: BaseModel) -> None:
        prompts = prompts_of(llama, 6, tokens=30)
        told: dict[int, list[int]] = {one.id: [] for one in prompts}
        shown = dict.fromkeys(told, "")
        for event in generate(llama, iter(prompts)):
            if isinstance(event, Piece):
                told[event.id] += [choice.token for choice in event.choices]
                shown[event.id] += event.text
                assert llama.encoder.answer(told[event.id]) == shown[event.id]

    def test_a_text_that_is_continued_as_it_stands_keeps_its_first_space(self, llama: BaseModel) -> None:
        ids = llama.encoder.prompt("Norway?")
        for seed in range(40):
            prompt = Prompt(id=0, ids=ids, max_tokens=3, temperature=1.5, seed=seed, alternatives=0)
            framed, raw = (endings(generate(llama, [replace(prompt, framed=framed)]))[0] for framed in (True, False))
            assert framed.choices == raw.choices
            assert framed.text == raw.text.removeprefix(" ")
            if raw.text.startswith(" "):
                return
        raise AssertionError("no answer began with a space")
