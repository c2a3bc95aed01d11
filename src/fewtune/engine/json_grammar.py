"""Answers held to JSON: which tokens may come next, by llguidance."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fewtune.data.encode import Encoder
from fewtune.errors import DataError, UsageError

if TYPE_CHECKING:
    from llguidance import LLMatcher

OBJECT = "object"
"""An object of any shape, where a schema's text could stand."""
_LONGEST_SCHEMA = 2**16
_KEPT = 64
"""Compiled grammars; one takes a few MB at most."""
_LONGEST_WORDS = 200
_OPTIONS = {"whitespace_pattern": r"\x20|\n[\x20\t]{0,32}"}
"""An endless run of spaces would be JSON too, and small models like to write it."""
_SHOWN = re.compile(r"\n\s*1 \| |<non-verbose/>")
_BITS = torch.arange(8, dtype=torch.uint8)


class JsonGrammars:
    """Of one base; those asked for last stay compiled."""

    def __init__(self, encoder: Encoder, vocabulary: int) -> None:
        """The vocabulary is the logits', which may be wider than the tokenizer's."""
        self._tokenizer: Any = _tokenizer(encoder, vocabulary)
        self._vocabulary = vocabulary
        self._compiled = lru_cache(_KEPT)(self._compile)

    def begin(self, wanted: str) -> JsonGrammar:
        """For one answer: `OBJECT`, or the text of a JSON Schema. Raises DataError for what cannot be compiled."""
        return JsonGrammar(self._compiled(wanted).deep_copy(), self._vocabulary)

    def _compile(self, wanted: str) -> LLMatcher:
        from llguidance import LLMatcher

        schema = {"type": "object"} if wanted == OBJECT else _schema(wanted)
        # The frame's space may stand before it; it is cut off with the frame.
        text = f'start: json | " " json\njson: %json {json.dumps({**schema, "x-guidance": _OPTIONS})}'
        matcher = LLMatcher(self._tokenizer, LLMatcher.grammar_from_lark(text), log_level=0, limits=_limits())
        probe = matcher.deep_copy()
        # What nothing satisfies is noticed only when something is to be written.
        satisfiable = not probe.is_error() and any(probe.compute_bitmask())
        if not satisfiable:
            raise DataError(_refused(probe))
        return matcher


class JsonGrammar:
    """Where one answer stands."""

    def __init__(self, matcher: LLMatcher, vocabulary: int) -> None:
        self._matcher = matcher
        self._vocabulary = vocabulary

    def mask(self) -> Tensor:
        """(V,) whether each token may come next."""
        bits = torch.frombuffer(bytearray(self._matcher.compute_bitmask()), dtype=torch.uint8)
        return (bits[:, None] >> _BITS & 1).bool().view(-1)[: self._vocabulary]

    def add(self, token: int) -> None:
        self._matcher.consume_token(token)

    @property
    def whole(self) -> bool:
        """Whether nothing can follow but the end."""
        return self._matcher.is_stopped() and self._matcher.is_accepting()

    @property
    def error(self) -> str | None:
        """Why nothing can follow, not even the end: a limit was reached, or nothing satisfies the schema."""
        if not self._matcher.is_stopped() or self._matcher.is_accepting():
            return None
        return _refused(self._matcher)


def _refused(matcher: LLMatcher) -> str:
    words = _plain(matcher.get_error()) or "Nothing satisfies it."
    return f"Answers cannot be held to this schema: {words}"


def _limits() -> Any:
    """Compiling takes a tenth of a second at most, a mask some milliseconds."""
    from llguidance import LLParserLimits

    return LLParserLimits(
        initial_lexer_fuel=300_000,
        step_lexer_fuel=100_000,
        step_max_items=20_000,
        max_lexer_states=50_000,
        max_grammar_size=100_000,
        verbose_errors=False,
    )


def _tokenizer(encoder: Encoder, vocabulary: int) -> Any:
    try:
        from llguidance import LLTokenizer
    except ImportError as error:
        raise UsageError(
            "The package 'llguidance', which holds answers to JSON, is not installed.",
            fix="Install it with: pip install 'fewtune[serve]'.",
        ) from error
    try:
        return LLTokenizer(encoder.tokenizer.to_str(), n_vocab=vocabulary, eos_token=list(encoder.stop_ids))
    except ValueError as error:
        raise UsageError("Answers of this base cannot be held to JSON: its tokenizer is of another kind.") from error


def _schema(text: str) -> dict[str, Any]:
    if len(text) > _LONGEST_SCHEMA:
        raise DataError(f"The JSON Schema has {len(text):,} characters; at most {_LONGEST_SCHEMA:,} are read.")
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError("The JSON Schema is no JSON, or too deep.") from error
    if not isinstance(schema, dict):
        raise DataError("A JSON Schema must be a JSON object.")
    return schema


def _plain(words: str) -> str:
    """Another program's words on one short line, without what it shows of the grammar."""
    told, *_ = _SHOWN.split(words)
    line = " ".join(told.rpartition("JSON schema: ")[2].split())
    return "".join(letter for letter in line if letter.isprintable())[:_LONGEST_WORDS]
