from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from fewtune.data.encode import Encoded
from fewtune.engine import lora
from fewtune.engine.base_model import BaseModel
from fewtune.engine.lora import Adapter
from fewtune.engine.sampler import ROWS_AT_ONCE, Continuation, Piece, Prompt, generate
from fewtune.engine.trainer import Training, step
from fewtune.types import Plan

TOKENS = 12
TEXT = "The capital of Norway is Oslo; and what, dear friend, is that of Egypt or of Kenya? ✓ é"


def prompts_of(base: BaseModel, count: int = 20) -> list[Prompt]:
    """Prompts of mixed lengths, in mixed order."""
    return [
        Prompt(id=number, ids=base.encoder.prompt(TEXT[number % 7 : 9 + (number * 37) % 70]), max_tokens=TOKENS)
        for number in range(count)
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


def texts(events: Iterable[Piece | Continuation]) -> dict[int, tuple[str, int, str]]:
    """What must not depend on the clock."""
    return {number: (one.text, one.tokens, one.stop_reason) for number, one in answers(events).items()}


def without_cache(base: BaseModel, model: torch.nn.Module, prompt: Prompt) -> tuple[str, int, str]:
    """Greedy decoding that reads the whole text anew for every token, one prompt at a time."""
    ids: list[int] = []
    while len(ids) < prompt.max_tokens:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([[*prompt.ids, *ids]]), use_cache=False).logits[0, -1]
        token = int(logits.argmax())
        if token == base.encoder.end_id:
            return base.encoder.answer(ids), len(ids), "stop"
        ids.append(token)
    return base.encoder.answer(ids), len(ids), "length"


@pytest.fixture(scope="module")
def tuned(base_of: Callable[[str], BaseModel], begin_training: Callable[..., Training]) -> Adapter:
    """An adapter that has learnt its five rows, so that answers end in a stop token."""
    llama = base_of("llama")
    training = begin_training(llama, Plan(learning_rate=2e-2, epochs=80, batch_size=5, rank=8))
    for _ in range(training.task.steps):
        step(llama, "t", training)
    return training.adapter


class TestGreedy:
    def test_a_cached_batch_writes_what_the_full_forward_of_each_prompt_alone_writes(
        self, base: BaseModel, family: str, folder_of: Callable[[str], Path]
    ) -> None:
        model = AutoModelForCausalLM.from_pretrained(folder_of(family), dtype=torch.float32).eval()
        prompts = prompts_of(base)
        assert len({len(prompt.ids) for prompt in prompts}) > 10
        assert texts(generate(base, prompts)) == {one.id: without_cache(base, model, one) for one in prompts}

    def test_with_an_adapter_too_and_answers_that_stop_early(
        self, llama: BaseModel, tuned: Adapter, encode: Callable[[BaseModel], tuple[Encoded, ...]]
    ) -> None:
        rows = encode(llama)
        prompts = [Prompt(id=one.row, ids=one.ids[: one.prompt_length], max_tokens=40) for one in rows]
        written = texts(generate(llama, prompts, tuned))
        with lora.in_use(llama, tuned):
            assert written == {one.id: without_cache(llama, llama.model, one) for one in prompts}
        assert Counter(reason for _, _, reason in written.values())["stop"] >= 5
        assert len({tokens for _, tokens, _ in written.values()}) > 2

    def test_what_was_learnt_is_answered_without_frame_and_stop(
        self, llama: BaseModel, tuned: Adapter, encode: Callable[[BaseModel], tuple[Encoded, ...]]
    ) -> None:
        one = encode(llama)[1]
        prompt = Prompt(id=0, ids=one.ids[: one.prompt_length], max_tokens=40)
        assert texts(generate(llama, [prompt], tuned)) == {0: ("Oslo.", one.trained_tokens - 1, "stop")}

    def test_more_prompts_than_a_batch_holds_are_all_answered_once(self, llama: BaseModel) -> None:
        prompts = [
            Prompt(id=number, ids=llama.encoder.prompt("a" * (number % 5)), max_tokens=2)
            for number in range(ROWS_AT_ONCE + 3)
        ]
        events = list(generate(llama, prompts))
        ended = Counter(event.id for event in events if isinstance(event, Continuation))
        assert ended == dict.fromkeys(range(ROWS_AT_ONCE + 3), 1)

    def test_no_prompt_is_no_answer(self, llama: BaseModel) -> None:
        assert list(generate(llama, [])) == []


class TestStreaming:
    def test_the_pieces_of_an_answer_are_the_answer(self, base: BaseModel) -> None:
        events = list(generate(base, prompts_of(base)))
        told = pieces(events)
        assert {number: told.get(number, "") for number in answers(events)} == {
            number: one.text for number, one in answers(events).items()
        }

    def test_a_stop_sequence_is_cut_off_with_all_that_follows_wherever_it_stands(self, llama: BaseModel) -> None:
        prompt = Prompt(id=0, ids=llama.encoder.prompt("Norway?"), max_tokens=30)
        whole = answers(generate(llama, [prompt]))[0].text
        assert len(whole) > 10
        for begin in range(len(whole) - 3):
            stop = whole[begin : begin + 3]
            cut = Prompt(id=0, ids=prompt.ids, max_tokens=30, stop=("never", stop))
            events = list(generate(llama, [cut]))
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
            cut = Prompt(id=0, ids=prompt.ids, max_tokens=30, stop=(decoy, wanted))
            events = list(generate(llama, [cut]))
            assert pieces(events).get(0, "") == answers(events)[0].text == whole[: whole.find(wanted)]

    def test_text_held_back_for_a_stop_sequence_is_told_when_the_answer_ends(self, llama: BaseModel) -> None:
        prompt = Prompt(id=0, ids=llama.encoder.prompt("Norway?"), max_tokens=8)
        whole = answers(generate(llama, [prompt]))[0].text
        held = Prompt(id=0, ids=prompt.ids, max_tokens=8, stop=(whole[-2:] + "\0",))
        events = list(generate(llama, [held]))
        assert pieces(events)[0] == answers(events)[0].text == whole

    def test_between_two_pieces_the_base_is_free_for_others(
        self, llama: BaseModel, tuned: Adapter, begin_training: Callable[..., Training]
    ) -> None:
        prompts = prompts_of(llama, 6)
        bare, expected = texts(generate(llama, prompts)), texts(generate(llama, prompts, tuned))
        events = generate(llama, prompts, tuned)
        first = next(events)
        training, alone = (begin_training(llama, Plan(learning_rate=1e-2)) for _ in range(2))
        step(llama, "t", training)
        assert texts(generate(llama, prompts)) == bare
        assert texts([first, *events]) == expected
        step(llama, "t", alone)
        assert torch.equal(training.adapter.flat, alone.adapter.flat)


class TestLimits:
    @pytest.mark.parametrize("room", [1, 3])
    def test_an_answer_ends_where_the_context_ends(self, base: BaseModel, room: int) -> None:
        long = base.encoder.prompt(TEXT * 3)
        assert len(long) > base.encoder.context
        ids = long[: base.encoder.context - room]
        short = Prompt(id=1, ids=base.encoder.prompt("a"), max_tokens=5)
        written = answers(generate(base, [Prompt(id=0, ids=ids, max_tokens=50), short]))
        assert written[0].stop_reason == "stop" or (written[0].tokens, written[0].stop_reason) == (room, "length")
        assert written[1].tokens == 5 or written[1].stop_reason == "stop"

    def test_no_token_may_be_asked_for(self, llama: BaseModel) -> None:
        prompt = Prompt(id=0, ids=llama.encoder.prompt("Norway?"), max_tokens=0)
        assert texts(generate(llama, [prompt])) == {0: ("", 0, "length")}


class TestTemperature:
    def drawn(self, base: BaseModel, count: int, seeds: int, tokens: int = TOKENS) -> list[Prompt]:
        return [
            Prompt(id=one.id, ids=one.ids, max_tokens=tokens, temperature=1.0, seed=seeds + one.id)
            for one in prompts_of(base, count)
        ]

    def test_equal_seeds_draw_equal_answers_and_others_do_not(self, llama: BaseModel) -> None:
        first, again, other = (texts(generate(llama, self.drawn(llama, 8, seed))) for seed in (0, 0, 100))
        assert first == again
        assert all(first[number] != other[number] for number in first)

    def test_an_answer_does_not_depend_on_who_is_answered_beside_it(self, base: BaseModel) -> None:
        prompts = self.drawn(base, 12, 0)
        together = texts(generate(base, prompts))
        assert {one.id: texts(generate(base, [one]))[one.id] for one in prompts} == together

    def test_a_low_temperature_comes_to_the_most_likely_token(self, llama: BaseModel) -> None:
        greedy = prompts_of(llama, 5)
        cold = [Prompt(id=one.id, ids=one.ids, max_tokens=TOKENS, temperature=1e-4, seed=9) for one in greedy]
        assert texts(generate(llama, cold)) == texts(generate(llama, greedy))

    def test_the_share_of_a_token_is_its_probability(self, llama: BaseModel) -> None:
        ids = llama.encoder.prompt("Norway?")
        with torch.no_grad():
            shares = torch.softmax(llama.model(input_ids=torch.tensor([ids])).logits[0, -1] / 0.7, dim=-1)
        best = int(shares.argmax())
        count, share = 400, float(shares[best])
        prompts = [Prompt(id=n, ids=ids, max_tokens=1, temperature=0.7, seed=n) for n in range(count)]
        hits = sum(one.text == llama.encoder.answer([best]) for one in answers(generate(llama, prompts)).values())
        # Five standard deviations of a binomial count.
        assert abs(hits - count * share) < 5 * math.sqrt(count * share * (1 - share))
