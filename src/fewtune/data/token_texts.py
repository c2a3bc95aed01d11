"""What single tokens stand for, which need not be whole characters."""

from __future__ import annotations

import json
import re
from typing import Any

from tokenizers import Tokenizer

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
_SPACE = "▁"


class TokenTexts:
    """Text by token; a byte that is part of a character only is a lone surrogate, as `surrogateescape` has it."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer: Any = tokenizer
        self._literal: dict[int, str] = {id: one.content for id, one in tokenizer.get_added_tokens_decoder().items()}
        decoder: Any = tokenizer.decoder
        kinds = _kinds(json.loads(decoder.__getstate__())) if decoder else set[str]()
        self._bytes = _BYTE_LEVEL if "ByteLevel" in kinds else None
        self._fallback = "ByteFallback" in kinds

    def __getitem__(self, token: int) -> str:
        if token in self._literal:
            return self._literal[token]
        written: str = self._tokenizer.id_to_token(token) or ""
        if self._bytes:
            return _decoded(bytes(self._bytes[character] for character in written))
        if self._fallback and (byte := _BYTE.fullmatch(written)):
            return _decoded(bytes([int(byte[1], 16)]))
        return written.replace(_SPACE, " ")


def _decoded(token: bytes) -> str:
    return token.decode(errors="surrogateescape")


def _kinds(decoder: dict[str, Any]) -> set[str]:
    return {decoder["type"]}.union(*(_kinds(one) for one in decoder.get("decoders", ())))


def _byte_level() -> dict[str, int]:
    """GPT-2's way of writing bytes: those that can be seen as themselves, the others in order from U+0100 on."""
    seen = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    unseen = [byte for byte in range(256) if byte not in seen]
    return {chr(byte): byte for byte in seen} | {chr(0x100 + place): byte for place, byte in enumerate(unseen)}


_BYTE_LEVEL = _byte_level()
