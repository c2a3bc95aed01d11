"""A byte-level BPE tokenizer in the words of llama.cpp."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gguf import GGUFWriter, TokenType
from tokenizers import Tokenizer

from fewtune.bases.folder import open_encoder
from fewtune.errors import BaseModelError

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_MARKS_AND_SPACES = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_SPLITS = {
    rf"{_CONTRACTIONS}|{_WORDS}|\p{{N}}|{_MARKS_AND_SPACES}": {False: "qwen2"},
    rf"{_CONTRACTIONS}|{_WORDS}|\p{{N}}{{1,3}}|{_MARKS_AND_SPACES}": {True: "llama-bpe", False: "smaug-bpe"},
}
"""Regular expression of a tokenizer.json to llama.cpp's name for it, by whether whole words skip the merges.

Only those that llama.cpp follows to the letter: its `tekken` cuts some words with letters beyond ASCII elsewhere.
"""


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """What llama.cpp needs to turn text into the base's ids."""

    splitting: str
    """llama.cpp's name for how text is cut into words before merges are applied."""
    tokens: tuple[str, ...]
    kinds: tuple[int, ...]
    """gguf.TokenType of each token."""
    merges: tuple[str, ...]
    begin_id: int | None
    begins: bool
    """Whether a text begins with the begin token."""
    end_id: int
    pad_id: int | None

    def write(self, writer: GGUFWriter) -> None:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(self.splitting)
        writer.add_token_list(self.tokens)
        writer.add_token_types(self.kinds)
        writer.add_token_merges(self.merges)
        writer.add_eos_token_id(self.end_id)
        if self.begin_id is not None:
            writer.add_bos_token_id(self.begin_id)
        if self.pad_id is not None:
            writer.add_pad_token_id(self.pad_id)
        writer.add_add_bos_token(self.begins)
        writer.add_add_eos_token(False)
        writer.add_add_space_prefix(False)


class UnknownTokenizer(BaseModelError):
    """A tokenizer of which it is not certain what llama.cpp would make of it."""


def read_vocabulary(base: Path, config: Mapping[str, Any]) -> Vocabulary:
    """Raises UnknownTokenizer rather than guess."""
    path = base / "tokenizer.json"
    encoder = open_encoder(str(base), "completion")
    stored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    model = stored["model"]
    splitting = _splitting(stored)
    if splitting is None:
        raise _unknown(path, "its way of cutting text into words has no name in llama.cpp that is known here")
    begin = _begin(encoder.tokenizer, encoder.end_id, path)
    tokens, kinds = _tokens(encoder.tokenizer, stored, int(config["vocab_size"]), path)
    return Vocabulary(
        splitting=splitting,
        tokens=tokens,
        kinds=kinds,
        merges=tuple(one if isinstance(one, str) else " ".join(one) for one in model["merges"]),
        begin_id=config.get("bos_token_id") if begin is None else begin,
        begins=begin is not None,
        end_id=encoder.end_id,
        pad_id=config.get("pad_token_id"),
    )


def _unknown(path: Path, why: str) -> UnknownTokenizer:
    return UnknownTokenizer(
        f"The base's tokenizer cannot be written as GGUF: {why}.",
        where=str(path),
        fix="Export in the format merged and convert that folder with llama.cpp.",
    )


def _splitting(stored: Mapping[str, Any]) -> str | None:
    """llama.cpp's name for this pre-tokenizer, or None for one that is not known to the letter."""
    model, normalizer = stored["model"], stored.get("normalizer")
    plain = (
        model.get("type") == "BPE"
        and not any(model.get(name) for name in ("dropout", "byte_fallback"))
        and not any(model.get(name) for name in ("continuing_subword_prefix", "end_of_word_suffix"))
        # llama.cpp normalises nothing; most text is NFC already.
        and (normalizer is None or normalizer == {"type": "NFC"})
    )
    return _named(_steps(stored.get("pre_tokenizer")), bool(model.get("ignore_merges"))) if plain else None


def _steps(given: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """The steps of a pre-tokenizer without what changes offsets only."""
    if given is None:
        return []
    steps = given["pretokenizers"] if given.get("type") == "Sequence" else [given]
    return [{name: value for name, value in step.items() if name != "trim_offsets"} for step in steps]


_BYTES = {"type": "ByteLevel", "add_prefix_space": False}
_GPT_2 = {**_BYTES, "use_regex": True}
_DIGITS = {"type": "Digits", "individual_digits": True}


def _named(steps: list[dict[str, Any]], ignores_merges: bool) -> str | None:
    match steps:
        case [last] if last == _GPT_2 and not ignores_merges:
            return "gpt-2"
        case [first, last] if first == _DIGITS and last == _GPT_2 and not ignores_merges:
            return "smollm"
        case [{"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}, last] if (
            last == {**_BYTES, "use_regex": False}
        ):
            return _SPLITS.get(pattern, {}).get(ignores_merges)
        case _:
            return None


def _begin(tokenizer: Tokenizer, end_id: int, path: Path) -> int | None:
    """The token that the tokenizer puts before every text, if it does."""
    bare: list[int] = tokenizer.encode("a", add_special_tokens=False).ids
    whole: list[int] = tokenizer.encode("a").ids
    before = whole[: len(whole) - len(bare)] if whole[-1] != end_id else whole[: len(whole) - len(bare) - 1]
    if len(before) > 1 or whole[len(before) : len(before) + len(bare)] != bare:
        raise _unknown(path, f"it frames every text as {whole}, of which {bare} is the text")
    return before[0] if before else None


def _tokens(
    tokenizer: Tokenizer, stored: Mapping[str, Any], size: int, path: Path
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Every id's token and kind; ids of the base that the tokenizer does not use are filled."""
    names: dict[int, str] = {number: token for token, number in tokenizer.get_vocab(with_added_tokens=True).items()}
    if max(names) >= size:
        raise _unknown(path, f"it has the id {max(names)}, and the base only {size} tokens")
    added = {
        one["id"]: TokenType.CONTROL if one["special"] else TokenType.USER_DEFINED for one in stored["added_tokens"]
    }
    tokens = tuple(names.get(number, f"[PAD{number}]") for number in range(size))
    kinds = (added.get(number, TokenType.NORMAL if number in names else TokenType.UNUSED) for number in range(size))
    return tokens, tuple(int(kind) for kind in kinds)
