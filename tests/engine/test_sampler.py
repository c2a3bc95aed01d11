from __future__ import annotations

import math
import multiprocessing
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from fewtune.data.encode import Encoded
from fewtune.engine import sampler
from fewtune.engine.attention import PackedAttention
from fewtune.engine.base_model import BaseModel
from fewtune.engine.continuation import Continuation, Piece, Prompt
from fewtune.engine.decoding import Decoder
from fewtune.engine.likelihood import measure
from fewtune.engine.lora import Adapter
from fewtune.engine.routing import route
from fewtune.engine.sampler import ROWS_AT_ONCE, generate
from fewtune.engine.shared_prefix import SharedPrefix
from fewtune.engine.training import Training
from fewtune.engine.writing import Writing
from fewtune.errors import DataError, TrainingError
from fewtune.types import Plan

TOKENS = 12
TEXT = "The capital of Norway is Oslo; and what, dear friend, is that of Egypt or of Kenya? ✓ é"

NextTokens = Callable[[Sequence[int]], list[int]]
"""The most likely token after each of the given ones."""


def prompts_of(base: BaseModel, count: int = 20) -> list[Prompt]:
    """Prompts of mixed lengths, in mixed order; which tokens are written is told."""
    texts = [TEXT[number % 7 : 9 + (number * 37) % 70] + str(number // 70) for number in range(count)]
    return [
        Prompt(id=number, ids=base.encoder.prompt(text), max_tokens=TOKENS, alternatives=0)
        for number, text in enumerate(texts)
    ]


def answers(events: Iterable[Piece | Continuation]) -> dict[int, Continuation]:
    return {event.id: event for event in events if isinstance(event, Continuation)}


def pieces(events: Iterable[Piece | Continuation]) -> dict[int, str]:
    """Everything handed out, put together by prompt."""
    told: dict[int, str] = {}
    for event in events:
        if isinstance(event, Piece):
            told[event.id] = told.get(event.id, "") + event.text
    return told


def tokens_of(one: Continuation) -> tuple[int, ...]:
    return tuple(choice.token for choice in one.choices)


def written(events: Iterable[Piece | Continuation]) -> dict[int, tuple[str, tuple[int, ...], str]]:
    """What must not depend on the clock, nor in its last bits on who else was there."""
    return {number: (one.text, tokens_of(one), one.stop_reason) for number, one in answers(events).items()}


def check_greedy(base: BaseModel, prompt: Prompt, one: Continuation, next_tokens: NextTokens) -> None:
    """Every token, and the end, is what a full forward of all before it finds most likely."""
    ids = tokens_of(one)
    expected = next_tokens((*prompt.ids, *ids))[len(prompt.ids) - 1 :]
    assert list(ids) == expected[:-1]
    assert one.text == base.encoder.answer(ids)
    assert one.tokens == len(ids)
    if one.stop_reason == "stop":
        assert expected[-1] == base.encoder.end_id
    else:
        assert len(ids) == prompt.max_tokens
    assert base.encoder.end_id not in ids


def in_transformers(folder: Path) -> NextTokens:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    @torch.inference_mode()
    def next_tokens(ids: Sequence[int]) -> list[int]:
        return model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].argmax(dim=1).tolist()

    return next_tokens


def without_cache(base: BaseModel, adapter: Adapter | None) -> NextTokens:
    @torch.inference_mode()
    def next_tokens(ids: Sequence[int]) -> list[int]:
        length = [len(ids)]
        routing = route([adapter], length)
        hidden = base.body.states(torch.tensor(ids), torch.arange(len(ids)), PackedAttention(length), routing)
        return base.logits(hidden).argmax(dim=1).tolist()

    return next_tokens


@pytest.fixture
def adapters(random_adapter: Callable[..., Adapter]) -> Callable[[BaseModel], list[Adapter | None]]:
    """Of several ranks and depths, and the bare base."""

    def make(base: BaseModel) -> list[Adapter | None]:
        return [
            random_adapter(base, rank=4, seed=1),
            random_adapter(base, rank=2, alpha=2, seed=2),
            None,
            random_adapter(base, rank=3, seed=3, top=0.5),
        ]

    return make


@pytest.fixture(scope="module")
def tuned_once() -> dict[int, Adapter]:
    return {}


@pytest.fixture
def tuned(
    llama: BaseModel,
    begin_training: Callable[..., Training],
    finish: Callable[..., object],
    tuned_once: dict[int, Adapter],
) -> Adapter:
    """An adapter that has learnt its five rows, so that answers end in a stop token."""
    if not tuned_once:
        training = begin_training(llama, Plan(learning_rate=2e-2, epochs=80, batch_size=5, rank=8))
        finish(llama, {"t": training})
        tuned_once[0] = training.adapter
    return tuned_once[0]


class TestGreedy:
    @pytest.mark.parametrize("count", [20, pytest.param(200, marks=pytest.mark.slow)])
    def test_a_cached_batch_writes_what_the_full_forward_of_each_prompt_alone_writes(
        self, base: BaseModel, family: str, folder_of: Callable[[str], Path], count: int
    ) -> None:
        prompts, next_tokens = prompts_of(base, count), in_transformers(folder_of(family))
        assert len({len(prompt.ids) for prompt in prompts}) > 10
        found = answers(generate(base, prompts))
        assert len(found) == count
        for prompt in prompts:
            check_greedy(base, prompt, found[prompt.id], next_tokens)

    def test_adapters_mixed_in_one_batch_write_what_each_writes_without_cache_and_neighbours(
        self, base: BaseModel, adapters: Callable[[BaseModel], list[Adapter | None]]
    ) -> None:
        some = adapters(base)
        prompts = [replace(one, adapter=some[one.id % len(some)]) for one in prompts_of(base, 12)]
        found = answers(generate(base, prompts))
        for prompt in prompts:
            check_greedy(base, prompt, found[prompt.id], without_cache(base, prompt.adapter))
        bare = written(generate(base, prompts_of(base, 12)))
        changed = [number for number, one in written(found.values()).items() if one != bare[number]]
        assert len(changed) >= 8

    def test_answers_that_stop_early_leave_the_others_as_they_are(
        self, llama: BaseModel, tuned: Adapter, encode: Callable[[BaseModel], tuple[Encoded, ...]]
    ) -> None:
        prompts = [
            Prompt(id=one.row, ids=one.ids[: one.prompt_length], max_tokens=40, adapter=tuned, alternatives=0)
            for one in encode(llama)
        ]
        found = answers(generate(llama, prompts))
        for prompt in prompts:
            check_greedy(llama, prompt, found[prompt.id], without_cache(llama, tuned))
        assert Counter(one.stop_reason for one in found.values())["stop"] >= 5
        assert len({one.tokens for one in found.values()}) > 2

    def test_what_was_learnt_is_answered_without_frame_and_stop(
        self, llama: BaseModel, tuned: Adapter, encode: Callable[[BaseModel], tuple[Encoded, ...]]
    ) -> None:
        row = encode(llama)[1]
        prompt = Prompt(id=0, ids=row.ids[: row.prompt_length], max_tokens=40, adapter=tuned)
        one = answers(generate(llama, [prompt]))[0]
        assert (one.text, one.tokens, one.stop_reason) == ("Oslo.", row.trained_tokens - 1, "stop")

    def test_every_end_token_of_the_base_ends_an_answer(self, llama: BaseModel) -> None:
        (prompt,) = prompts_of(llama, 1)
        ids = tokens_of(answers(generate(llama, [prompt]))[0])
        other = next(token for token in ids[1:] if token != ids[0])
        ending = replace(llama, encoder=replace(llama.encoder, other_end_ids=(other,)))
        one = answers(generate(ending, [prompt]))[0]
        assert (tokens_of(one), one.stop_reason) == (ids[: ids.index(other)], "stop")


class TestStreaming:
    def test_the_pieces_of_an_answer_are_the_answer(self, base: BaseModel) -> None:
        events = list(generate(base, prompts_of(base)))
        told = pieces(events)
        assert {number: told.get(number, "") for number in answers(events)} == {
            number: one.text for number, one in answers(events).items()
        }

    def test_every_token_is_told_before_the_next_one_is_chosen(self, llama: BaseModel) -> None:
        (prompt,) = prompts_of(llama, 1)
        told: list[Piece | Continuation] = []
        seen: list[str] = []

        def arriving() -> Iterator[Prompt | None]:
            yield prompt
            while not answers(told):
                yield None
                seen.append(pieces(told).get(0, ""))

        for event in generate(llama, arriving()):
            told.append(event)
        ids = tokens_of(answers(told)[0])
        texts = [llama.encoder.answer(ids[:count]) for count in range(1, TOKENS)]
        assert seen[: len(texts)] == [text.rstrip("\N{REPLACEMENT CHARACTER}") for text in texts]
        assert len(set(seen)) > TOKENS // 2

    def test_a_stop_sequence_is_cut_off_with_all_that_follows_wherever_it_stands(self, llama: BaseModel) -> None:
        prompt = Prompt(id=0, ids=llama.encoder.prompt("Norway?"), max_tokens=30)
        whole = answers(generate(llama, [prompt]))[0].text
        assert len(whole) > 10
        for begin in range(len(whole) - 3):
            stop = whole[begin : begin + 3]
            events = list(generate(llama, [replace(prompt, stop=("never", stop))]))
            one = answers(events)[0]
            assert (one.text, one.stop_reason) == (whole[: whole.find(stop)], "stop")
            assert pieces(events).get(0, "") == one.text

    def test_a_character_that_could_begin_two_stop_sequences_is_held_back_for_the_longer(
        self, llama: BaseModel
    ) -> None:
        prompt = Prompt(id=0, ids=llama.encoder.prompt("Norway?"), max_tokens=30)
        whole = answers(generate(llama, [prompt]))[0].text
        for begin in range(len(whole) - 3):
            wanted, decoy = whole[begin : begin + 3], whole[begin + 1] + "\0"
            events = list(generate(llama, [replace(prompt, stop=(decoy, wanted))]))
            assert pieces(events).get(0, "") == answers(events)[0].text == whole[: whole.find(wanted)]

    def test_text_held_back_for_a_stop_sequence_is_told_when_the_answer_ends(self, llama: BaseModel) -> None:
        prompt = Prompt(id=0, ids=llama.encoder.prompt("Norway?"), max_tokens=8)
        whole = answers(generate(llama, [prompt]))[0].text
        events = list(generate(llama, [replace(prompt, stop=(whole[-2:] + "\0",))]))
        assert pieces(events)[0] == answers(events)[0].text == whole

    def test_between_two_pieces_the_base_is_free_for_others(
        self,
        llama: BaseModel,
        tuned: Adapter,
        begin_training: Callable[..., Training],
        finish: Callable[..., object],
    ) -> None:
        bare = prompts_of(llama, 6)
        prompts = [replace(one, adapter=tuned) for one in bare]
        expected_bare, expected = written(generate(llama, bare)), written(generate(llama, prompts))
        events = generate(llama, prompts)
        first = next(events)
        training, alone = (begin_training(llama, Plan(learning_rate=1e-2)) for _ in range(2))
        finish(llama, {"t": training}, 1)
        assert written(generate(llama, bare)) == expected_bare
        assert written([first, *events]) == expected
        finish(llama, {"t": alone}, 1)
        assert torch.equal(training.adapter.flat, alone.adapter.flat)

    def test_closed_on_the_way_it_leaves_no_trace(self, llama: BaseModel) -> None:
        prompts = prompts_of(llama, 6)
        expected = written(generate(llama, prompts))
        for count in (1, 5, 20):
            events = generate(llama, prompts)
            for _ in range(count):
                next(events)
            events.close()
            assert torch.is_grad_enabled()
            assert not torch.is_inference_mode_enabled()
        assert written(generate(llama, prompts)) == expected


class TestSideBySide:
    """A sequence of prompts is dealt out over the cores."""

    def test_many_prompts_get_the_answers_that_each_gets_alone(
        self, some_base: BaseModel, adapters: Callable[[BaseModel], list[Adapter | None]]
    ) -> None:
        some = adapters(some_base)
        prompts = [
            replace(one, adapter=some[one.id % len(some)], max_tokens=1 + 5 * one.id % 11, temperature=one.id % 2)
            for one in prompts_of(some_base, 40)
        ]
        alone = {one.id: written(generate(some_base, [one]))[one.id] for one in prompts}
        events = list(generate(some_base, prompts))
        assert written(events) == alone
        assert {number: pieces(events).get(number, "") for number in alone} == {
            number: one.text for number, one in answers(events).items()
        }

    def test_children_take_their_share(self, llama: BaseModel, monkeypatch: pytest.MonkeyPatch) -> None:
        begun_here: list[int] = []

        class Begun(Writing):
            def __init__(self, base: BaseModel, prompt: Prompt, prefix: SharedPrefix | None = None) -> None:
                begun_here.append(prompt.id)
                super().__init__(base, prompt, prefix)

        monkeypatch.setattr(sampler, "Writing", Begun)
        assert len(answers(generate(llama, prompts_of(llama, 40)))) == 40
        assert begun_here == list(range(0, 40, min(llama.workers.count, 10)))

    def test_closed_at_any_piece_the_children_are_free_again(self, llama: BaseModel) -> None:
        prompts = prompts_of(llama, 20)
        expected = written(generate(llama, prompts))
        for count in (1, 30, 100):
            events = generate(llama, prompts)
            for _ in range(count):
                next(events)
            events.close()
            assert written(generate(llama, prompts)) == expected

    def test_a_killed_child_costs_no_answer_silently_and_is_replaced(self, llama: BaseModel) -> None:
        prompts = prompts_of(llama, 40)
        expected = written(generate(llama, prompts))
        events = generate(llama, prompts)
        first = next(events)
        for child in multiprocessing.active_children():
            child.kill()
            child.join()
        # On a busy machine a child may have written its share before it was killed.
        with suppress(TrainingError):
            assert written([first, *events]) == expected
        assert written(generate(llama, prompts)) == expected

    def test_children_that_are_killed_with_nothing_to_do_are_replaced_unnoticed(self, llama: BaseModel) -> None:
        prompts = prompts_of(llama, 40)
        expected = written(generate(llama, prompts))
        for child in multiprocessing.active_children():
            child.kill()
            child.join()
        assert written(generate(llama, prompts)) == expected


class TestJoining:
    """Prompts come from an iterator that is asked again before every token."""

    @pytest.mark.parametrize("wait", range(TOKENS + 2))
    def test_one_may_join_at_any_token_and_changes_no_other(self, llama: BaseModel, wait: int) -> None:
        prompts = prompts_of(llama, 4)
        expected = written(generate(llama, prompts))

        def arriving() -> Iterator[Prompt | None]:
            yield from prompts[:3]
            for _ in range(wait):
                yield None
            yield prompts[3]

        assert written(generate(llama, arriving())) == expected

    def test_adapters_may_come_and_go(
        self, some_base: BaseModel, adapters: Callable[[BaseModel], list[Adapter | None]]
    ) -> None:
        some = adapters(some_base)
        prompts = [
            replace(one, adapter=some[one.id % len(some)], max_tokens=1 + 5 * one.id % 11)
            for one in prompts_of(some_base, 16)
        ]

        def arriving() -> Iterator[Prompt | None]:
            for one in prompts:
                yield one
                yield from [None] * (one.id % 3)

        alone = {one.id: written(generate(some_base, [one]))[one.id] for one in prompts}
        assert written(generate(some_base, arriving())) == alone

    def test_what_is_told_may_decide_what_comes_next(self, llama: BaseModel) -> None:
        """A conversation: the next prompt exists only when the last answer does."""
        told: list[Piece | Continuation] = []
        prompt = prompts_of(llama, 1)[0]

        def arriving() -> Iterator[Prompt | None]:
            yield prompt
            while not answers(told):
                yield None
            yield replace(prompt, id=1, ids=(*prompt.ids, *tokens_of(answers(told)[0])))

        for event in generate(llama, arriving()):
            told.append(event)
        both = written(generate(llama, [replace(prompt, max_tokens=2 * TOKENS)]))[0][1]
        assert tokens_of(answers(told)[0]) + tokens_of(answers(told)[1]) == both

    def test_no_more_rows_are_held_than_may_be_and_every_prompt_is_answered_once(
        self, llama: BaseModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        count = 3 * ROWS_AT_ONCE + 3
        rows: list[int] = []
        step = Decoder.step

        def counted(decoder: Decoder, tokens: Sequence[Sequence[int]]) -> torch.Tensor:
            rows.append(len(tokens))
            return step(decoder, tokens)

        monkeypatch.setattr(Decoder, "step", counted)
        prompts = (
            Prompt(id=number, ids=llama.encoder.prompt("a" * (number % 5)), max_tokens=1 + number % 7)
            for number in range(count)
        )
        ended = [event.id for event in generate(llama, prompts) if isinstance(event, Continuation)]
        assert Counter(ended) == dict.fromkeys(range(count), 1)
        assert max(rows) == ROWS_AT_ONCE

    def test_none_overtakes_another_into_a_row(self, llama: BaseModel, monkeypatch: pytest.MonkeyPatch) -> None:
        # So that all rows begin together.
        monkeypatch.setattr(sampler, "READ_AT_ONCE", 10_000)
        prompts = [replace(one, max_tokens=4) for one in prompts_of(llama, 2 * ROWS_AT_ONCE)]
        ended = [event.id for event in generate(llama, iter(prompts)) if isinstance(event, Continuation)]
        first, second = set(ended[:ROWS_AT_ONCE]), set(ended[ROWS_AT_ONCE:])
        assert max(first) < min(second)

    @pytest.mark.parametrize("nothing", [[], [None], [None] * 5])
    def test_no_prompt_is_no_answer(self, llama: BaseModel, nothing: list[None]) -> None:
        assert list(generate(llama, nothing)) == []

    def test_an_idle_iterator_is_not_asked_without_pause(self, llama: BaseModel) -> None:
        asked = 0

        def arriving() -> Iterator[None]:
            nonlocal asked
            end = time.perf_counter() + 0.05
            while time.perf_counter() < end:
                asked += 1
                yield None

        assert list(generate(llama, arriving())) == []
        assert asked <= 51

    def test_an_error_of_the_iterator_comes_through(self, llama: BaseModel) -> None:
        def arriving() -> Iterator[Prompt]:
            yield prompts_of(llama, 1)[0]
            raise LookupError("gone")

        with pytest.raises(LookupError, match="gone"):
            list(generate(llama, arriving()))


class TestLimits:
    @pytest.mark.parametrize("room", [1, 3])
    def test_an_answer_ends_where_the_context_ends(self, base: BaseModel, room: int) -> None:
        long = base.encoder.prompt(TEXT * 3)
        assert len(long) > base.encoder.context
        ids = long[: base.encoder.context - room]
        short = Prompt(id=1, ids=base.encoder.prompt("a"), max_tokens=5)
        found = answers(generate(base, [Prompt(id=0, ids=ids, max_tokens=50), short]))
        assert found[0].stop_reason == "stop" or (found[0].tokens, found[0].stop_reason) == (room, "length")
        assert found[1].tokens == 5 or found[1].stop_reason == "stop"

    @pytest.mark.parametrize("excess", [0, 1, 40])
    def test_a_prompt_that_fills_the_context_leaves_no_room_for_an_answer(self, llama: BaseModel, excess: int) -> None:
        ids = llama.encoder.prompt(TEXT * 9)[: llama.encoder.context + excess]
        found = answers(generate(llama, [Prompt(id=0, ids=ids, max_tokens=5), *prompts_of(llama, 3)[1:]]))
        assert (found[0].text, found[0].tokens, found[0].stop_reason) == ("", 0, "length")
        assert len(found) == 3

    def test_no_token_may_be_asked_for(self, llama: BaseModel) -> None:
        prompt = Prompt(id=0, ids=llama.encoder.prompt("Norway?"), max_tokens=0)
        assert written(generate(llama, [prompt])) == {0: ("", (), "length")}

    def test_a_prompt_without_tokens_is_refused(self) -> None:
        with pytest.raises(DataError, match="no tokens"):
            Prompt(id=0, ids=(), max_tokens=5)


class TestTemperature:
    def drawn(self, base: BaseModel, count: int, seeds: int, tokens: int = TOKENS) -> list[Prompt]:
        return [
            replace(one, max_tokens=tokens, temperature=1.0, top_p=0.9 if one.id % 2 else 1.0, seed=seeds + one.id)
            for one in prompts_of(base, count)
        ]

    def test_equal_seeds_draw_equal_answers_and_others_do_not(self, llama: BaseModel) -> None:
        first, again, other = (written(generate(llama, self.drawn(llama, 8, seed))) for seed in (0, 0, 100))
        assert first == again
        assert all(first[number] != other[number] for number in first)

    def test_an_answer_does_not_depend_on_who_is_answered_beside_it(self, base: BaseModel) -> None:
        prompts = self.drawn(base, 12, 0)
        together = written(generate(base, prompts))
        assert {one.id: written(generate(base, [one]))[one.id] for one in prompts} == together

    def test_a_low_temperature_or_a_narrow_nucleus_comes_to_the_most_likely_token(self, llama: BaseModel) -> None:
        greedy = prompts_of(llama, 5)
        cold = [replace(one, temperature=1e-4, seed=9) for one in greedy]
        narrow = [replace(one, temperature=1.0, top_p=1e-6, seed=9) for one in greedy]
        assert written(generate(llama, cold)) == written(generate(llama, narrow)) == written(generate(llama, greedy))

    def test_the_share_of_a_token_is_its_probability(self, llama: BaseModel) -> None:
        ids = llama.encoder.prompt("Norway?")
        with torch.inference_mode():
            hidden = llama.body.states(torch.tensor(ids), torch.arange(len(ids)), PackedAttention([len(ids)]))
            shares = torch.softmax(llama.logits(hidden[-1]) / 0.7, dim=-1)
        best = int(shares.argmax())
        count, share = 400, float(shares[best])
        prompts = [Prompt(id=n, ids=ids, max_tokens=1, temperature=0.7, seed=n, alternatives=0) for n in range(count)]
        hits = sum(tokens_of(one) == (best,) for one in answers(generate(llama, prompts)).values())
        # Five standard deviations of a binomial count.
        assert abs(hits - count * share) < 5 * math.sqrt(count * share * (1 - share))


class TestLogLikelihoods:
    def test_they_are_what_measuring_the_written_answer_finds(
        self, some_base: BaseModel, adapters: Callable[[BaseModel], list[Adapter | None]]
    ) -> None:
        some = adapters(some_base)
        prompts = [
            replace(one, adapter=some[one.id % len(some)], temperature=float(one.id % 2), top_p=0.8)
            for one in prompts_of(some_base, 12)
        ]
        found = answers(generate(some_base, prompts))
        for prompt in prompts:
            choices = found[prompt.id].choices
            ids = (*prompt.ids, *tokens_of(found[prompt.id]), some_base.encoder.end_id)
            whole = Encoded(row=0, ids=ids, prompt_length=len(prompt.ids))
            (expected,) = measure(some_base, [whole], prompt.adapter)
            own = [choice.log_likelihood for choice in choices]
            assert own == pytest.approx(expected.log_likelihoods[:-1], abs=1e-4)

    def test_as_many_alternatives_as_asked_for_are_told_best_first(self, llama: BaseModel) -> None:
        prompts = [replace(one, alternatives=(None, 0, 1, 5)[one.id % 4]) for one in prompts_of(llama, 8)]
        for number, one in answers(generate(llama, prompts)).items():
            wanted = prompts[number].alternatives
            assert len(one.choices) == (0 if wanted is None else one.tokens)
            for choice in one.choices:
                assert len(choice.alternatives) == wanted
                values = [value for _, value in choice.alternatives]
                assert values == sorted(values, reverse=True)
                if values:
                    # Greedy: the chosen token is the best.
                    assert (choice.token, choice.log_likelihood) == choice.alternatives[0]
