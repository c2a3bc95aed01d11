"""Answers that were to be written later, and never were."""

from __future__ import annotations

import re

_PLACEHOLDERS = frozenset(
    (
        "coming soon", "content coming soon", "description coming soon", "insert text here", "lorem ipsum", "n a",
        "no answer available", "no content available", "no data available", "no description",
        "no description available", "no information available", "no summary available", "placeholder",
        "placeholder text", "tba", "tbc", "tbd", "to be announced", "to be completed", "to be confirmed",
        "to be determined", "to do", "todo", "your text here",
    )
)  # fmt: skip
_LOOKED_AT = 60
"""Characters from the start: more than the longest placeholder has."""
_DOTS = re.compile(r"[.\u2026]{2,}|\u2026")
_NOT_WORD = re.compile(r"[\W_]+")


def is_placeholder(answer: str) -> bool:
    """Whether the whole answer, case and punctuation aside, is one of them, or it begins with lorem ipsum."""
    start = answer[:_LOOKED_AT].casefold()
    if len(answer) > _LOOKED_AT and "lorem" not in start:
        return False
    words = _NOT_WORD.sub(" ", start).strip()
    return words in _PLACEHOLDERS or words.startswith("lorem ipsum ") or bool(_DOTS.fullmatch(answer.strip()))
