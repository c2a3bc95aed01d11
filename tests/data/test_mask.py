from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewtune.data.encode import Encoder
from fewtune.data.mask import Mask, mask
from fewtune.errors import DataError
from fewtune.types import Example, Message, Source
from standin.chat_models import STYLES, encoder_of
from standin.tiny_models import END, make_tokenizer

CHAT = {name: encoder_of(style) for name, style in STYLES.items()}
PLAIN = Encoder(tokenizer=make_tokenizer(), end_id=END, context=200)
ENCODERS = {**CHAT, "plain": PLAIN}
texts = st.text(st.characters(exclude_categories=["Cs", "Cn"]), max_size=12)


def row(number: int, *contents: str, trained: bool = True) -> Example:
    messages = tuple(
        Message(role="assistant", content=content, trained=trained) if n % 2 else Message(role="user", content=content)
        for n, content in enumerate(contents)
    )
    source = Source(file="rows.jsonl", line=number + 1)
    return Example(row=number, prompt=contents[0], completion=contents[-1], source=source, messages=messages)


def shown(found: Mask) -> list[tuple[str, bool, bool]]:
    return [(piece.text, piece.trained, piece.is_stop) for piece in found.rows[0].pieces]


class TestPieces:
    def test_a_conversation_is_shown_with_its_trained_turns_and_their_stops(self) -> None:
        assert shown(mask(CHAT["chatml"], [row(0, "Peru?", "Lima", "Cuba?", "Havana")])) == [
            ("<|im_start|>user\nPeru?<|im_end|>\n<|im_start|>assistant\n", False, False),
            ("Lima", True, False),
            ("<|im_end|>", True, True),
            ("\n<|im_start|>user\nCuba?<|im_end|>\n<|im_start|>assistant\n", False, False),
            ("Havana", True, False),
            ("<|im_end|>", True, True),
        ]

    def test_a_plain_base_is_shown_its_frame(self) -> None:
        assert shown(mask(PLAIN, [row(0, "Peru?", "Lima")])) == [
            ("<|begin|>Peru? ->", False, False),
            (" Lima", True, False),
            ("<|end|>", True, True),
        ]

    @pytest.mark.parametrize("name", list(ENCODERS))
    @given(contents=st.lists(texts, min_size=4, max_size=4))
    @settings(max_examples=20, deadline=None)
    def test_the_pieces_together_are_the_text_of_the_tokens(self, name: str, contents: list[str]) -> None:
        encoder, example = ENCODERS[name], row(0, *contents)
        (found,) = mask(encoder, [example]).rows
        encoded = encoder.example(example)
        whole = encoder.tokenizer.decode(list(encoded.ids), skip_special_tokens=False)
        assert "".join(piece.text for piece in found.pieces) == whole
        assert (found.tokens, found.trained_tokens) == (len(encoded.ids), encoded.trained_tokens)
        assert found.pieces[-1].is_stop

    def test_a_replacement_character_of_the_data_is_a_character_like_others(self) -> None:
        pieces = shown(mask(CHAT["chatml"], [row(0, "a\ufffd", "b\ufffd")]))
        assert pieces[1:] == [("b\ufffd", True, False), ("<|im_end|>", True, True)]


class TestCounts:
    def test_rows_that_are_lost_are_named_and_the_others_counted(self) -> None:
        encoder = replace(CHAT["chatml"], context=60)
        rows = [row(0, "Peru?", "Lima"), row(1, "Cuba?", "x" * 90), row(2, "a", "b", trained=False)]
        found = mask(encoder, rows)
        assert (found.too_long, found.untrained) == ((1,), (2,))
        encoded = encoder.example(rows[0])
        assert (found.tokens, found.trained_tokens) == (len(encoded.ids), encoded.trained_tokens)
        assert (found.recipe, found.stops) == ("chat", ("<|im_end|>",))

    def test_no_more_than_the_first_rows_are_shown_and_all_are_counted(self) -> None:
        rows = [row(number, "Peru?", "Lima") for number in range(9)]
        found = mask(PLAIN, rows, most=2)
        assert [one.row for one in found.rows] == [0, 1]
        assert found.tokens == 9 * found.rows[0].tokens
        assert (found.recipe, found.stops) == ("completion", ("<|end|>",))

    def test_turns_that_the_template_rewrites_are_told(self) -> None:
        found = mask(CHAT["thinking"], [row(0, "Peru?", "Lima", "Cuba?", "Havana"), row(1, "Peru?", "Lima")])
        assert found.left_out == 1
        assert [one.left_out for one in found.rows] == [1, 0]

    def test_a_stop_that_is_not_the_templates_own_is_the_bases(self) -> None:
        assert mask(CHAT["alpaca"], [row(0, "Peru?", "Lima")]).stops == ("<|end|>",)

    def test_a_conversation_that_the_template_refuses_is_an_error(self) -> None:
        with pytest.raises(DataError, match="Turns must alternate"):
            mask(CHAT["gemma"], [replace(row(0, "a", "b"), messages=row(0, "a", "b").messages[1:])])
