from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from fewtune.data.encode import PLAIN_FRAME, SPECIAL_TOKENS, Encoder, Frame
from fewtune.errors import DataError
from fewtune.types import Example, Source

BEGIN, END = 0, 1
SENTENCES = ("Capital of France? -> It is Paris.", "Capital of Peru? -> It is Lima.")
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


def make_tokenizer() -> Tokenizer:
    """Bytes with merges; among them ` ->` and ` It`, and `> I` if a merge ran over the border."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=["<|begin|>", "<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|begin|> $A", special_tokens=[("<|begin|>", BEGIN)]
    )
    tokenizer.encode_special_tokens = True
    return tokenizer


ENCODER = Encoder(tokenizer=make_tokenizer(), end_id=END, context=400)


def row(prompt: str, completion: str) -> Example:
    return Example(row=4, prompt=prompt, completion=completion, source=Source(file="rows.csv", line=17))


class TestFrame:
    def test_a_prompt_ends_in_the_separator_and_an_answer_begins_with_a_space(self) -> None:
        assert PLAIN_FRAME.prompt_text("Peru?") == "Peru? ->"
        assert PLAIN_FRAME.completion_text("Lima") == " Lima"

    def test_space_around_prompt_and_answer_makes_no_difference(self) -> None:
        assert PLAIN_FRAME.prompt_text("\n Peru? \t") == PLAIN_FRAME.prompt_text("Peru?")
        assert PLAIN_FRAME.completion_text("  Lima\n") == PLAIN_FRAME.completion_text("Lima")

    def test_worked_examples_stand_before_the_prompt_in_their_order(self) -> None:
        shots = (("Peru?", "Lima"), ("Cuba?", "Havana"))
        expected = "Peru? -> Lima\n\n###\n\nCuba? -> Havana\n\n###\n\nKenya? ->"
        assert PLAIN_FRAME.few_shot_text("Kenya?", shots) == expected
        assert PLAIN_FRAME.few_shot_text("Kenya?", ()) == PLAIN_FRAME.prompt_text("Kenya?")

    def test_another_frame_may_do_without_the_space(self) -> None:
        frame = Frame(separator="\n=>\n", leading_space=False)
        encoder = replace(ENCODER, frame=frame)
        assert frame.prompt_text("Peru?") == "Peru?\n=>\n"
        assert encoder.answer(encoder.completion("Lima")[:-1]) == "Lima"

    def test_the_reserved_tokens_keep_their_places(self) -> None:
        assert len(SPECIAL_TOKENS) == len(set(SPECIAL_TOKENS)) == 32
        assert SPECIAL_TOKENS[:3] == ("<|begin|>", "<|end|>", "<|pad|>")


class TestExample:
    @given(texts, texts)
    def test_trained_are_exactly_the_answer_and_its_stop(self, prompt: str, completion: str) -> None:
        encoded = ENCODER.example(row(prompt, completion))
        trained = encoded.ids[encoded.prompt_length :]
        assert trained[-1] == END
        assert ENCODER.tokenizer.decode(trained[:-1], skip_special_tokens=False) == f" {completion.strip()}"
        assert encoded.trained_tokens == len(trained)

    @given(texts, texts)
    def test_the_rest_is_exactly_the_framed_prompt(self, prompt: str, completion: str) -> None:
        encoded = ENCODER.example(row(prompt, completion))
        given_part = encoded.ids[: encoded.prompt_length]
        assert given_part[0] == BEGIN
        assert ENCODER.tokenizer.decode(given_part[1:], skip_special_tokens=False) == f"{prompt.strip()} ->"

    @given(texts, texts)
    def test_the_border_is_the_same_in_training_as_in_use(self, prompt: str, completion: str) -> None:
        encoded = ENCODER.example(row(prompt, completion))
        assert encoded.ids == ENCODER.prompt(prompt) + ENCODER.completion(completion)
        assert encoded.prompt_length == len(ENCODER.prompt(prompt))

    def test_a_token_that_could_run_over_the_border_does_not(self) -> None:
        whole = ENCODER.tokenizer.encode("Peru? -> It is Lima.").ids
        encoded = ENCODER.example(row("Peru?", "It is Lima."))
        assert tuple(whole) != encoded.ids[:-1], "the tokenizer of this test must merge over the border"
        assert ENCODER.tokenizer.decode(encoded.ids[: encoded.prompt_length]) == "Peru? ->"

    @given(texts, texts, st.integers(0, 5))
    def test_the_stop_occurs_once_and_last_whatever_the_row_spells(self, prompt: str, completion: str, at: int) -> None:
        spelt = f"{completion[:at]}<|end|>{completion[at:]}"
        ids = ENCODER.example(row(f"{prompt}<|end|>", spelt)).ids
        assert ids.count(END) == 1 and ids[-1] == END
        assert ids.count(BEGIN) == 1

    def test_an_empty_answer_is_its_stop_after_a_space(self) -> None:
        assert ENCODER.completion("  ") == (*ENCODER.tokenizer.encode(" ", add_special_tokens=False).ids, END)

    def test_an_end_token_that_the_tokenizer_appends_is_not_part_of_the_prompt(self) -> None:
        tokenizer = make_tokenizer()
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<|begin|> $A <|end|>", special_tokens=[("<|begin|>", BEGIN), ("<|end|>", END)]
        )
        assert replace(ENCODER, tokenizer=tokenizer).prompt("Peru?") == ENCODER.prompt("Peru?")


class TestTooLong:
    def test_a_row_is_refused_with_both_lengths_and_its_place(self) -> None:
        example = row("a b c d", "x" * 500)
        length = len(ENCODER.prompt(example.prompt)) + len(ENCODER.completion(example.completion))
        expected = f"rows.csv:17: The row has {length} tokens; the base reads at most 400."
        with pytest.raises(DataError, match=re.escape(expected)) as caught:
            ENCODER.example(example)
        assert caught.value.exit_code == 3

    def test_a_row_fits_up_to_the_last_token_of_the_context(self) -> None:
        example = row("Peru?", "Lima")
        length = len(ENCODER.example(example).ids)
        assert replace(ENCODER, context=length).fit(example) == ENCODER.example(example)
        assert replace(ENCODER, context=length - 1).fit(example) is None


class TestAnswer:
    @given(texts)
    def test_what_was_encoded_as_an_answer_is_read_back_as_it_was(self, completion: str) -> None:
        assert ENCODER.answer(ENCODER.completion(completion)) == completion.strip()

    def test_only_the_frames_own_space_is_taken_away(self) -> None:
        assert ENCODER.answer(ENCODER.tokenizer.encode("  Lima", add_special_tokens=False).ids) == " Lima"
