"""How much of what was answered stands in the training rows, word for word or nearly."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fewtune.evaluation.retrieval import words_in
from fewtune.similarity import clusters

_Names = NDArray[np.int64]
_NEARLY = 0.85


@dataclass(frozen=True, kw_only=True)
class Span:
    """The longest run of words that two sets of texts share; of equals the first in the answers."""

    words: int
    text: str
    """As it stands in the answer."""
    answer: int
    """Which answer, and which training text; -1 where nothing is shared."""
    source: int


NOTHING = Span(words=0, text="", answer=-1, source=-1)


@dataclass(frozen=True)
class _Words:
    """All words of some texts, one after another."""

    names: _Names
    """A number for each word; after each text stands one that no other word has."""
    places: list[tuple[int, int]]
    """Where the word begins and ends in its text."""
    starts: list[int]
    """Where each text begins among the words."""


class Training:
    """Training completions, to look for their words in answers."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts
        self._vocabulary: dict[str, int] = {}
        self._words = self._read(texts, ends=-1)

    def longest_span(self, answers: Sequence[str]) -> Span:
        """The longest run of words that stands in an answer and in a training text; case and punctuation count not.

        Exact: runs of 1, 2, 4, ... words are given numbers so that equal runs have equal numbers, and a run of any
        length is told by the two of the power below it that cover it (Karp, Miller and Rosenberg, 1972); the length
        is then found by halving.
        """
        asked = self._read(answers, ends=-2 - len(self._texts))
        joined = np.concatenate((self._words.names, asked.names))
        border = len(self._words.names)
        levels = list(_doubled(joined, border))
        if not levels:
            return NOTHING
        low, high = 1 << (len(levels) - 1), 1 << len(levels)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if _first_shared(levels, middle, border) else (low, middle)
        at, there = _first_shared(levels, low, border) or (border, 0)
        at -= border
        answer, source = bisect_right(asked.starts, at) - 1, bisect_right(self._words.starts, there) - 1
        begin, end = asked.places[at][0], asked.places[at + low - 1][1]
        return Span(words=low, text=answers[answer][begin:end], answer=answer, source=source)

    def near_copies(self, answers: Sequence[str]) -> int:
        """Answers that are a training text but for details (`similarity.clusters`); an empty one copies nothing."""
        found = clusters((*self._texts, *answers), _NEARLY)
        known = set(found[: len(self._texts)])
        return sum(number in known for number, text in zip(found[len(self._texts) :], answers, strict=True) if text)

    def _read(self, texts: Sequence[str], *, ends: int) -> _Words:
        names, places, starts = list[int](), list[tuple[int, int]](), list[int]()
        for number, text in enumerate(texts):
            starts.append(len(names))
            for word, begin, end in words_in(text):
                names.append(self._vocabulary.setdefault(word, len(self._vocabulary)))
                places.append((begin, end))
            names.append(ends - number)
            places.append((len(text), len(text)))
        return _Words(np.array(names, dtype=np.int64), places, starts)


def _doubled(names: _Names, border: int) -> Iterator[_Names]:
    """The numbers of the runs of 1, 2, 4, ... words that begin at each place, as long as some are shared."""
    length = 1
    while np.isin(names[border:], names[:border]).any():
        yield names
        names, length = _paired(names[:-length], names[length:]), 2 * length


def _paired(first: _Names, second: _Names) -> _Names:
    """One number for each pair of numbers, equal for equal pairs."""
    _, left = np.unique(first, return_inverse=True)
    _, right = np.unique(second, return_inverse=True)
    pairs: _Names = left * (int(right.max(initial=0)) + 1) + right
    return pairs


def _first_shared(levels: Sequence[_Names], length: int, border: int) -> tuple[int, int] | None:
    """Where a run of so many words begins among the answers and in the training texts; None where none is shared."""
    level = length.bit_length() - 1
    names = levels[level]
    apart = length - (1 << level)
    runs = _paired(names[: len(names) - apart], names[apart:])
    shared = np.flatnonzero(np.isin(runs[border:], runs[:border]))
    if not len(shared):
        return None
    place = border + int(shared[0])
    return place, int(np.flatnonzero(runs[:border] == runs[place])[0])
