"""Texts that were cut off, told from the habits of the others.

A missing full stop alone proves nothing: people forget it. The end has to look like a cut as well.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

_LONG = 40
"""Characters of a text that is more than a name or a phrase."""
_FEWEST = 20
_HABIT = 0.95
_SAMPLE = 5000
_FREQUENT = 10
_SHARE_AT_THE_END = 0.02
_SAME_LENGTH = 3

_GOES_ON = frozenset(",;-–—([{/&")
_WORD = re.compile(r"([^\W\d_]+)([.!?,;:…]?)")


@dataclass(frozen=True, kw_only=True)
class _Habits:
    words: Sequence[str]
    """All words of the texts, sorted."""
    never_last: frozenset[str]
    """Frequent words, such as `the`, behind which hardly ever a sentence or a clause ends."""
    limit: int | None
    """Length at which at least three of the longest texts end, as where a program cuts."""


def cut_off(texts: Sequence[str]) -> list[int]:
    """Places of the long texts that stop within a word or a sentence, where 95 % and more end with a sentence's sign.

    They end in a comma, a dash or an open bracket; or in a word behind which no sentence of the data ends; or in one
    that is only the beginning of another word of the data, or in no other text at all; or just where several of the
    longest texts end.
    """
    long = [place for place, text in enumerate(texts) if len(text) >= _LONG]
    open_ = [place for place in long if texts[place][-1].isalnum() or texts[place][-1] in _GOES_ON]
    if len(long) < _FEWEST or not open_ or len(open_) > (1 - _HABIT) * len(long):
        return []
    step = max(1, len(long) // _SAMPLE)
    habits = _habits([texts[place] for place in long[::step]], Counter(len(texts[place]) for place in open_))
    return [place for place in open_ if _is_cut(texts[place], habits)]


def _habits(sample: Sequence[str], lengths: Counter[int]) -> _Habits:
    counts: Counter[str] = Counter()
    at_the_end: Counter[str] = Counter()
    for text in sample:
        words = _WORD.findall(text.lower())
        # A last word without a sign is one in question.
        for word, sign in words if words and words[-1][1] else words[:-1]:
            counts[word] += 1
            at_the_end[word] += bool(sign)
    frequent = (word for word, count in counts.items() if count >= _FREQUENT)
    longest = max(lengths)
    return _Habits(
        words=sorted(counts),
        never_last=frozenset(word for word in frequent if at_the_end[word] < _SHARE_AT_THE_END * counts[word]),
        limit=longest if lengths[longest] >= _SAME_LENGTH else None,
    )


def _is_cut(text: str, habits: _Habits) -> bool:
    if text[-1] in _GOES_ON or len(text) == habits.limit:
        return True
    *_, word = re.split(r"[\W\d_]+", text)
    return word.lower() in habits.never_last or (word.islower() and _is_a_part(word, habits.words))


def _is_a_part(word: str, words: Sequence[str]) -> bool:
    """Whether none of the words, though perhaps one that begins like it; a name may well be in one text alone."""
    place = bisect_left(words, word)
    return words[place : place + 1] != [word]
