from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewtune.data.encode import PLAIN_FRAME, Encoder, Frame
from fewtune.engine.stopping import Transcript
from standin.chat_models import STYLES, encoder_of
from standin.tiny_models import CONTEXT, END, make_sentencepiece, make_tokenizer

TOKENIZERS = {"bytes": make_tokenizer(), "sentencepiece": make_sentencepiece()}
ENCODERS = {
    (name, frame.leading_space): Encoder(tokenizer=tokenizer, end_id=END, context=CONTEXT, frame=frame)
    for name, tokenizer in TOKENIZERS.items()
    for frame in (PLAIN_FRAME, Frame(leading_space=False))
}
# What its template writes before an answer has many tokens.
CHAT = encoder_of(STYLES["thinking"])

encoders = pytest.mark.parametrize("encoder", ENCODERS.values(), ids=lambda _: None)
texts = st.text(st.sampled_from("ab cdeé✓€\N{FAMILY}\N{COMBINING ACUTE ACCENT}\n"), max_size=20)


def write(encoder: Encoder, ids: list[int], stop: tuple[str, ...] = ()) -> tuple[Transcript, list[str]]:
    """All tokens up to a stop, and what was handed out after each of them, and at the end."""
    transcript, told = Transcript(encoder, stop), list[str]()
    for token in ids:
        transcript.add(token)
        told.append(transcript.take())
        if transcript.stopped:
            break
    transcript.end()
    return transcript, [*told, transcript.take()]


@encoders
class TestText:
    @given(text=texts)
    def test_no_piece_of_a_text_holds_half_a_character(self, encoder: Encoder, text: str) -> None:
        ids = encoder.tokenizer.encode(text, add_special_tokens=False).ids
        transcript, told = write(encoder, ids)
        assert "".join(told) == transcript.text == encoder.answer(ids)
        assert "\N{REPLACEMENT CHARACTER}" not in transcript.text
        assert told[-1] == ""

    @given(data=st.data())
    def test_any_tokens_are_told_as_the_text_they_become(self, encoder: Encoder, data: st.DataObject) -> None:
        size = encoder.tokenizer.get_vocab_size()
        ids = data.draw(st.lists(st.integers(0, size - 1), max_size=30))
        transcript, told = write(encoder, ids)
        assert "".join(told) == transcript.text
        # Llama 2's decoder spoils good characters before a bad byte; what was told cannot be called back.
        if encoder.tokenizer is TOKENIZERS["bytes"]:
            assert transcript.text == encoder.answer(ids)


class TestLead:
    @given(text=texts, length=st.integers(0, 19))
    def test_what_a_template_writes_before_an_answer_is_not_told_unless_it_is_something_else(
        self, text: str, length: int
    ) -> None:
        for begun in (CHAT.lead, CHAT.lead[:length]):
            ids = CHAT.tokenizer.encode(begun + text, add_special_tokens=False).ids
            transcript, told = write(CHAT, ids)
            assert "".join(told) == transcript.text == CHAT.answer(ids) == (begun + text).removeprefix(CHAT.lead)


@encoders
class TestStops:
    @given(text=texts, stop=texts.filter(bool), other=texts.filter(bool))
    def test_the_text_is_cut_before_the_stop_that_comes_first_and_nothing_of_one_is_told(
        self, encoder: Encoder, text: str, stop: str, other: str
    ) -> None:
        ids = encoder.tokenizer.encode(text, add_special_tokens=False).ids
        transcript, told = write(encoder, ids, (stop, other))
        whole = encoder.answer(ids)
        assert "".join(told) == transcript.text
        assert whole.startswith(transcript.text)
        assert stop not in transcript.text
        assert other not in transcript.text
        assert transcript.stopped == (stop in whole or other in whole)
        if not transcript.stopped:
            assert transcript.text == whole

    def test_what_turns_out_to_be_no_stop_is_told(self, encoder: Encoder) -> None:
        ids = encoder.tokenizer.encode("a ab abd", add_special_tokens=False).ids
        transcript, told = write(encoder, ids, ("abc",))
        assert "".join(told) == transcript.text == encoder.answer(ids)
        assert not transcript.stopped
