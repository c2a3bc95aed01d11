"""What all texts of a column have in common."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_ROWS_AT_ONCE = 1 << 12


def common_prefix(texts: Sequence[str]) -> str:
    """The longest beginning that all texts share."""
    first, last = min(texts, default=""), max(texts, default="")
    length = next((place for place, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return first[:length]


def common_suffix(texts: Sequence[str]) -> str:
    """The longest end that all texts share."""
    if len({text[-1:] for text in texts}) != 1:
        return ""
    return common_prefix([text[::-1] for text in texts])[::-1]


def is_mostly_upper(texts: Sequence[str]) -> bool:
    """Whether more than a third of the letters that have a case are capitals."""
    counts = np.zeros(0x110000, dtype=np.int64)
    for start in range(0, len(texts), _ROWS_AT_ONCE):
        text = "".join(texts[start : start + _ROWS_AT_ONCE])
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
        found = np.bincount(codes)
        counts[: len(found)] += found
    letters = [(chr(code), int(counts[code])) for code in np.flatnonzero(counts)]
    upper = sum(count for letter, count in letters if letter.isalpha() and letter.isupper())
    lower = sum(count for letter, count in letters if letter.isalpha() and letter.islower())
    return upper * 2 > lower
