"""Which of a text's special tokens are the template's own: what the data spells stays text.

Before a template is rendered, every name of a special token in the data is put behind marks. Whatever name stands in
the rendered text is then the template's, and it gets marks of another kind. A copy of the tokenizer knows those marks
and none of the names, so the whole text can be tokenised in one piece, as the base is used to.
"""

from __future__ import annotations

import copy
import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

from tokenizers import AddedToken, Tokenizer

from fewtune.errors import ChatTemplateError, DataError

# Code points that Unicode keeps free of characters for ever, for uses like this one.
_OWN, _OWN_END, _SPELT, _SPELT_END, _CUT = "\ufdd0\ufdd1\ufdd2\ufdd3\ufdd4"
_MARKS = re.compile(f"[{_OWN}-{_CUT}]")
_ESCAPED = re.compile(r"\\ufdd[0-4]")
_SPELT_ID = re.compile(f"{_SPELT}([0-9]+){_SPELT_END}")


@dataclass(frozen=True, kw_only=True)
class Laid:
    """A text as token ids, and where in the marked text each of them begins."""

    text: str
    ids: tuple[int, ...]
    starts: tuple[int, ...]

    def before(self, place: int) -> int:
        """How many tokens begin before that place in the text."""
        return bisect_left(self.starts, place)


class SpecialTokens:
    """The special tokens of one tokenizer; without any, texts are tokenised as they are."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        added: dict[int, AddedToken] = tokenizer.get_added_tokens_decoder()
        self._tokens = {number: token for number, token in added.items() if token.special and token.content}
        self.ids: Mapping[str, int] = {token.content: number for number, token in self._tokens.items()}
        names = sorted(self.ids, key=len, reverse=True)
        self.pattern = re.compile("|".join(map(re.escape, names)) or "(?!)")
        self._begins = frozenset(name[:size] for name in names for size in range(2, len(name)))
        self._ends = frozenset(name[size:] for name in names for size in range(1, len(name) - 1))
        self._longest = max(map(len, names), default=0)

    @cached_property
    def _marked(self) -> tuple[Tokenizer, Mapping[int, int | None]]:
        """The copy, and what its tokens for marks stand for: an id, or nothing at a cut."""
        copied: Tokenizer = copy.deepcopy(self._tokenizer)
        copied.encode_special_tokens = True
        # It adds no token where none is asked for, but some move the places of tokens.
        cast(Any, copied).post_processor = None
        marks = {f"{_OWN}{number}{_OWN_END}": number for number in self._tokens}
        own = [_like(token, f"{_OWN}{number}{_OWN_END}") for number, token in self._tokens.items()]
        cast(Any, copied).add_tokens([*own, AddedToken(_CUT, normalized=False)])
        known: dict[int, int | None] = {int(copied.token_to_id(mark) or 0): number for mark, number in marks.items()}
        return copied, {**known, int(copied.token_to_id(_CUT) or 0): None}

    def shielded(self, value: Any) -> Any:
        """A value of a conversation in which no text spells a special token; lists and objects as a whole.

        Raises DataError for a text that uses the marks themselves.
        """
        if isinstance(value, str):
            return self._shielded(value)
        if isinstance(value, Mapping):
            items = cast(Mapping[Any, Any], value).items()
            return {self.shielded(key): self.shielded(one) for key, one in items}
        if isinstance(value, Sequence):
            return [self.shielded(one) for one in cast(Sequence[Any], value)]
        return value

    def _shielded(self, text: str) -> str:
        if _MARKS.search(text):
            raise DataError("A text holds a code point from U+FDD0 to U+FDD4, which is no character.", fix="Remove it.")
        # Half a name at either end could become a whole one beside the half that another text ends with.
        sizes = range(2, min(self._longest, len(text) + 1))
        before = _CUT if any(text[:size] in self._ends for size in sizes) else ""
        after = _CUT if any(text[-size:] in self._begins for size in sizes) else ""
        spelt = self.pattern.sub(lambda found: f"{_SPELT}{self.ids[found[0]]}{_SPELT_END}", text)
        return before + spelt + after

    def laid(self, parts: Sequence[str], *, cuts: Sequence[int] = ()) -> tuple[Laid, list[int]]:
        """Rendered parts of a text as one row of tokens, and where each part ends in the marked text.

        No token runs over the end of a part whose number is among the cuts.
        """
        marked = [self._with_marks(part) + (_CUT if number in cuts else "") for number, part in enumerate(parts)]
        ends = [sum(map(len, marked[: number + 1])) for number in range(len(marked))]
        return self._encoded("".join(marked)), ends

    def is_border(self, laid: Laid, end: int) -> bool:
        """Whether the text before that place has the tokens there that it would have alone, as a prompt has."""
        begin = max(0, laid.text.rfind(_OWN, 0, end))
        alone = self._encoded(laid.text[begin:end]).ids
        before = laid.before(end)
        return laid.ids[max(0, before - len(alone)) : before] == alone

    def _with_marks(self, text: str) -> str:
        own = self.pattern.sub(lambda found: f"{_OWN}{self.ids[found[0]]}{_OWN_END}", text)
        spelt = _SPELT_ID.sub(lambda found: self._tokens[int(found[1])].content, own)
        if _SPELT in spelt or _SPELT_END in spelt or _ESCAPED.search(spelt):
            raise ChatTemplateError("The base's chat template takes apart a text that spells a special token.")
        return spelt

    def _encoded(self, text: str) -> Laid:
        tokenizer, marks = self._marked
        encoding: Any = tokenizer.encode(text, add_special_tokens=False)
        pairs = [
            (marks.get(number, number), start)
            for number, (start, _) in zip(encoding.ids, encoding.offsets, strict=True)
        ]
        kept = [(number, start) for number, start in pairs if number is not None]
        return Laid(text=text, ids=tuple(number for number, _ in kept), starts=tuple(start for _, start in kept))


def _like(token: AddedToken, content: str) -> AddedToken:
    """A token that swallows the same white space; not special, or it would be text as the others are."""
    return AddedToken(
        content, single_word=token.single_word, lstrip=token.lstrip, rstrip=token.rstrip, normalized=False
    )
