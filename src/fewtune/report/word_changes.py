"""What changed between two texts, word by word, for a reader."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

_WORD = re.compile(r"\s+|\w+|[^\w\s]")
_LONGEST = 2000
"""Characters that are compared; of longer texts the beginning."""
_VISIBLE = str.maketrans({" ": "␣", "\n": "↵\n", "\t": "⇥", "\r": "␍"})


@dataclass(frozen=True, kw_only=True)
class Part:
    text: str
    kind: Literal["same", "removed", "added"]


def word_changes(before: str, after: str | None) -> tuple[Part, ...]:
    """The parts that stayed, went and came, in order; white space that went or came alone is made visible.

    `after` is None where the whole text went.
    """
    if after is None:
        return (Part(text=_cut(before), kind="removed"),) if before else ()
    return tuple(_parts(_WORD.findall(_cut(before)), _WORD.findall(_cut(after))))


def _parts(before: list[str], after: list[str]) -> Iterator[Part]:
    matcher = SequenceMatcher(None, before, after, autojunk=False)
    for tag, first, end, other_first, other_end in matcher.get_opcodes():
        if tag == "equal":
            yield Part(text="".join(before[first:end]), kind="same")
            continue
        if end > first:
            yield Part(text=_visible("".join(before[first:end])), kind="removed")
        if other_end > other_first:
            yield Part(text=_visible("".join(after[other_first:other_end])), kind="added")


def _visible(text: str) -> str:
    return text if text.strip() else text.translate(_VISIBLE)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"
