from __future__ import annotations

import pytest
from tokenizers import Tokenizer

from fewtune.data.token_texts import TokenTexts
from standin.tiny_models import BEGIN, make_sentencepiece, make_tokenizer

TEXTS = ["Norway? Oslo.", "a  b\nc\t", "é ✓ 日本 \N{GRINNING FACE}", "\x00\x7f\xa0\xad"]


@pytest.mark.parametrize("make", [make_tokenizer, make_sentencepiece])
@pytest.mark.parametrize("text", TEXTS)
def test_the_texts_of_a_texts_tokens_are_together_its_bytes(make: object, text: str) -> None:
    tokenizer: Tokenizer = make()  # type: ignore[operator]
    texts = TokenTexts(tokenizer)
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    whole = b"".join(texts[id].encode(errors="surrogateescape") for id in ids)
    assert whole.decode().removeprefix(" " if make is make_sentencepiece else "") == text


def test_every_byte_has_a_token_that_stands_for_it() -> None:
    tokenizer = make_tokenizer()
    texts = TokenTexts(tokenizer)
    found = {texts[id].encode(errors="surrogateescape") for id in range(tokenizer.get_vocab_size())}
    assert {bytes([byte]) for byte in range(256)} <= found


def test_a_special_token_stands_for_its_name() -> None:
    assert TokenTexts(make_tokenizer())[BEGIN] == "<|begin|>"
