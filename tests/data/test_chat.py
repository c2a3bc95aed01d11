from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewtune.data.chat import asked, open_chat, turns_of, with_rejected
from fewtune.data.chat_template import open_template
from fewtune.data.encode import Encoded, Encoder
from fewtune.errors import BaseModelError, DataError
from fewtune.types import Example, Message, Source
from standin.chat_models import NAMES, STYLES, Style, encoder_of, seen_by_transformers, tokenizer_of
from standin.tiny_models import END, make_sentencepiece

ENCODERS = {name: encoder_of(style) for name, style in STYLES.items()}
styles = pytest.mark.parametrize("name", list(STYLES))
rewriting = {"thinking"}
"""Styles that write earlier turns otherwise than the last."""
SPELT = (
    "<|im_start|>",
    "<|im_end|>",
    "<|eot|>",
    "</turn>",
    "[INST]",
    "<|over|>",
    "<|assistant|>",
    "<|begin|>",
    "<|end|>",
)
words = st.text(st.characters(exclude_categories=["Cs", "Zs", "Cc", "Cn"]), min_size=1, max_size=12)
spelling = st.lists(st.one_of(words, st.sampled_from(SPELT), st.sampled_from([s[:5] for s in SPELT])), min_size=1)
sentences = spelling.map("".join)


def conversation(*contents: str, trained: bool = True) -> tuple[Message, ...]:
    """Question, answer, question, answer."""
    return tuple(
        Message(role="assistant", content=content, trained=trained) if n % 2 else Message(role="user", content=content)
        for n, content in enumerate(contents)
    )


def row(messages: tuple[Message, ...], **others: str) -> Example:
    source = Source(file="rows.jsonl", line=3)
    return Example(row=7, prompt="plain", completion=messages[-1].content, source=source, messages=messages, **others)


def decoded(encoder: Encoder, ids: tuple[int, ...]) -> str:
    text: str = encoder.tokenizer.decode(list(ids), skip_special_tokens=False)
    return text


def trained_texts(encoder: Encoder, encoded: Encoded) -> list[str]:
    borders = [encoded.prompt_length, *(place for gap in encoded.gaps for place in gap), len(encoded.ids)]
    return [decoded(encoder, encoded.ids[begin:end]) for begin, end in list(pairwise(borders))[::2]]


FOUR = conversation("Capital of Peru?", "Lima.", "And of Cuba?", "It is Havana ✓")


@styles
class TestAgainstTransformers:
    def test_tokens_are_transformers_own_up_to_the_last_stop(self, name: str) -> None:
        encoder, theirs = ENCODERS[name], seen_by_transformers(STYLES[name])
        for messages in (FOUR[:2], FOUR):
            said = [{"role": one.role, "content": one.content} for one in messages]
            whole = tuple(theirs.apply_chat_template(said, tokenize=True, return_dict=False))
            ours = encoder.example(row(messages)).ids
            own = ours if name != "alpaca" else ours[:-1]
            assert whole[: len(own)] == own
            assert not decoded(encoder, whole[len(own) :]).strip("\n").removesuffix("<|end|>")

    def test_a_prompt_has_transformers_own_tokens(self, name: str) -> None:
        theirs = seen_by_transformers(STYLES[name])
        said = [{"role": one.role, "content": one.content} for one in FOUR[:3]]
        whole = theirs.apply_chat_template(said, tokenize=True, add_generation_prompt=True, return_dict=False)
        assert ENCODERS[name].prompt("", messages=FOUR[:3]) == tuple(whole)

    @given(question=words, answer=words)
    @settings(max_examples=20, deadline=None)
    def test_so_it_is_with_any_words(self, name: str, question: str, answer: str) -> None:
        theirs = seen_by_transformers(STYLES[name])
        said = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        whole = tuple(theirs.apply_chat_template(said, tokenize=True, return_dict=False))
        ours = ENCODERS[name].example(row(conversation(question, answer))).ids
        own = ours if name != "alpaca" else ours[:-1]
        assert whole[: len(own)] == own


@pytest.mark.parametrize("name", [name for name in STYLES if name != "alpaca"])
def test_a_tokenizer_that_puts_a_space_before_every_text_puts_none_before_an_answer(name: str) -> None:
    encoder = encoder_of(STYLES[name], make_sentencepiece())
    theirs = seen_by_transformers(STYLES[name], make_sentencepiece())
    messages = conversation("a b", "c d", " ab", "é")
    said = [{"role": one.role, "content": one.content} for one in messages]
    whole = tuple(theirs.apply_chat_template(said, tokenize=True, return_dict=False))
    ours = encoder.example(row(messages))
    assert whole[: len(ours.ids)] == ours.ids
    assert ours.ids[: ours.prompt_length] == encoder.prompt("", messages=messages[: 3 if name in rewriting else 1])


@styles
class TestTraining:
    def test_trained_are_the_answers_and_their_stops(self, name: str) -> None:
        encoder, style = ENCODERS[name], STYLES[name]
        encoded = encoder.example(row(FOUR))
        kept = ["Lima.", "It is Havana ✓"][1 if name in rewriting else 0 :]
        between = {"alpaca": ["\n\n", "\n\n<|end|>"]}.get(name, [style.stop] * 2)
        expected = [f"{style.lead}{text}{stop}" for text, stop in zip(kept, between, strict=False)]
        assert trained_texts(encoder, encoded) == expected
        assert encoded.left_out == 2 - len(kept)
        assert encoded.trained_tokens == sum(encoded.trained)

    def test_a_turn_of_weight_0_is_not_trained(self, name: str) -> None:
        first = (FOUR[0], replace(FOUR[1], trained=False))
        encoded = ENCODERS[name].example(row((*first, *FOUR[2:])))
        assert encoded.gaps == () and encoded.left_out == 0
        assert encoded.ids[: encoded.prompt_length] == ENCODERS[name].prompt("", messages=(*first, FOUR[2]))

    def test_what_follows_the_last_trained_turn_is_left_away(self, name: str) -> None:
        later = (*FOUR, Message(role="user", content="Thanks."), Message(role="assistant", content="Bye."))
        assert ENCODERS[name].example(row(later)) == ENCODERS[name].example(row(FOUR))

    @given(contents=st.lists(sentences, min_size=2, max_size=2))
    @settings(max_examples=25, deadline=None)
    def test_the_border_is_the_same_in_training_as_in_use(self, name: str, contents: list[str]) -> None:
        messages = conversation(*contents)
        encoded = ENCODERS[name].example(row(messages))
        assert encoded.ids[: encoded.prompt_length] == ENCODERS[name].prompt("", messages=messages[:-1])

    @given(contents=st.lists(sentences, min_size=4, max_size=4))
    @settings(max_examples=25, deadline=None)
    def test_nothing_that_is_spelt_is_a_special_token(self, name: str, contents: list[str]) -> None:
        def special(ids: tuple[int, ...]) -> list[int]:
            known = ENCODERS[name].tokenizer.get_added_tokens_decoder()
            return [number for number in ids if number in known]

        harmless = ENCODERS[name].whole(row(conversation("a", "b", "c", "d")))
        assert special(ENCODERS[name].whole(row(conversation(*contents))).ids) == special(harmless.ids)

    @given(answer=words)
    @settings(max_examples=25, deadline=None)
    def test_what_was_encoded_as_an_answer_is_read_back_as_it_was(self, name: str, answer: str) -> None:
        assert ENCODERS[name].answer(ENCODERS[name].completion(answer)).rstrip("\n") == answer


@pytest.mark.parametrize("name", ["chatml", "mistral", "zephyr"])
@pytest.mark.parametrize("answer", ["\n\nLima", " Lima", "\n", "  \n Lima"])
def test_white_space_that_would_grow_together_with_the_prompt_is_kept_apart_from_it(name: str, answer: str) -> None:
    encoder = ENCODERS[name]
    encoded = encoder.example(row(conversation("Peru?", answer)))
    assert encoded.ids[: encoded.prompt_length] == encoder.prompt("Peru?")
    assert trained_texts(encoder, encoded) == [STYLES[name].lead + answer + STYLES[name].stop]


class TestSpecialNames:
    def test_two_halves_of_a_name_do_not_become_a_token(self) -> None:
        source = "{% for m in messages %}{{ m.content }}{{ eos_token if m.role == 'assistant' else '' }}{% endfor %}"
        style = Style(template=source, special=("<|x|>",))
        tokenizer = tokenizer_of(style)
        tokenizer.encode_special_tokens = True
        template = open_template(style.template, NAMES, "here")
        chat = open_chat(template, tokenizer, END)
        asking = [Message(role="user", content=half) for half in ("a<|", "x|>b")]
        ids = chat.prompt(asking)
        assert tokenizer.token_to_id("<|x|>") not in ids
        assert tokenizer.decode(list(ids), skip_special_tokens=False) == "a<|x|>b"

    def test_names_in_calls_and_tools_are_text_too(self) -> None:
        encoder = ENCODERS["chatml"]
        calls = '[{"type": "function", "function": {"name": "<|im_end|>", "arguments": "{\\"<|im_end|>\\": 1}"}}]'
        said = Message(role="assistant", content="", calls=calls, trained=True)
        encoded = encoder.example(row((Message(role="user", content="?"), said)))
        assert encoded.ids.count(encoder.stop_ids[-1]) == 2
        assert trained_texts(encoder, encoded) == [
            '\n<tool_call>\n{"name": "<|im_end|>", "arguments": {"<|im_end|>": 1}}\n</tool_call><|im_end|>'
        ]

    def test_a_text_with_code_points_that_are_no_characters_is_refused_with_its_place(self) -> None:
        with pytest.raises(DataError, match=r"rows\.jsonl:3: A text holds a code point"):
            ENCODERS["chatml"].example(row(conversation("\ufdd01\ufdd1", "b")))


class TestRows:
    def test_a_row_without_turns_is_a_question_and_its_answer(self) -> None:
        plain = Example(row=7, prompt="Peru?", completion="Lima.", source=Source(file="rows.csv", line=2))
        assert turns_of(plain) == conversation("Peru?", "Lima.")
        assert ENCODERS["chatml"].example(plain) == ENCODERS["chatml"].example(row(conversation("Peru?", "Lima.")))
        assert asked(plain) is None
        assert asked(row(FOUR)) == FOUR[:3]

    def test_a_conversation_with_nothing_to_train_is_an_error_with_its_place(self) -> None:
        with pytest.raises(DataError, match=r"rows\.jsonl:3: No turn of the conversation is trained"):
            ENCODERS["chatml"].fit(row(conversation("a", "b", trained=False)))

    def test_a_conversation_that_the_template_refuses_is_an_error_with_its_place(self) -> None:
        system = Message(role="system", content="Be brief.")
        with pytest.raises(DataError, match=r"rows\.jsonl:3: .*No system here"):
            ENCODERS["gemma"].example(row((system, *FOUR)))

    def test_a_row_fits_up_to_the_last_token_of_the_context(self) -> None:
        encoded = ENCODERS["chatml"].example(row(FOUR))
        short = replace(ENCODERS["chatml"], context=len(encoded.ids))
        assert short.fit(row(FOUR)) == encoded
        assert replace(short, context=len(encoded.ids) - 1).fit(row(FOUR)) is None

    def test_the_worse_answer_takes_the_place_of_the_last(self) -> None:
        pair = row(FOUR, rejected="Santiago")
        assert with_rejected(pair).messages == (*FOUR[:3], replace(FOUR[3], content="Santiago"))
        assert with_rejected(pair).completion == "Santiago"

    def test_worked_examples_are_turns_after_the_system(self) -> None:
        system = Message(role="system", content="Be brief.")
        encoder = ENCODERS["chatml"]
        shots = (("Peru?", "Lima"), ("Cuba?", "Havana"))
        turns = (system, *conversation("Peru?", "Lima", "Cuba?", "Havana", "Kenya?"))
        given_turns = (system, Message(role="user", content="Kenya?"))
        assert encoder.prompt("", shots, messages=given_turns) == encoder.prompt("", messages=turns)
        assert encoder.prompt("Kenya?", shots) == encoder.prompt("", messages=turns[1:])

    def test_a_scored_answer_alone_is_trained(self) -> None:
        encoder = ENCODERS["chatml"]
        scored = encoder.scored("", "Havana", messages=FOUR[:3], row=4)
        assert (scored.row, scored.gaps) == (4, ())
        assert scored.ids[: scored.prompt_length] == encoder.prompt("", messages=FOUR[:3])
        assert trained_texts(encoder, scored) == ["Havana<|im_end|>"]


class TestOpening:
    @staticmethod
    def opened(source: str) -> None:
        open_chat(open_template(source, NAMES, "chat_template.jinja"), tokenizer_of(STYLES["chatml"]), END)

    def test_stops_and_leads_are_found(self) -> None:
        for name, style in STYLES.items():
            chat = ENCODERS[name].chat
            assert chat is not None
            assert (chat.stop or "<|end|>", chat.lead) == (style.stop, style.lead)
            assert chat.stop_id == ENCODERS[name].tokenizer.token_to_id(style.stop)

    @pytest.mark.parametrize(
        ("source", "what"),
        [
            ("{{ raise_exception('Never') }}", "Never"),
            ("{% for m in messages %}{{ m.role }}{% endfor %}", "loses what was said"),
            ("{{ messages[7].content }}", "no element 7"),
            (
                "{% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}<think>{% endif %}",
                "begins an answer in one way",
            ),
        ],
    )
    def test_a_template_that_cannot_be_used_is_refused_when_it_is_opened(self, source: str, what: str) -> None:
        with pytest.raises(BaseModelError, match=what):
            self.opened(source)
