"""Which texts are nearest to a text: BM25 over words, small and quick enough to stand beside any model."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

_SATURATION, _LENGTH_SHARE = 1.2, 0.75
"""k1 and b of BM25, as Robertson and Zaragoza give them for want of better."""
_WITHOUT_SPACES = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
"""Kana and Chinese characters, each of which counts as a word."""
_WORD = re.compile(rf"[{_WITHOUT_SPACES}]|[^\W{_WITHOUT_SPACES}]+")


def words_in(text: str) -> Iterator[tuple[str, int, int]]:
    """Each word without its case, and where it begins and ends in the text; punctuation is none."""
    for found in _WORD.finditer(text):
        yield found[0].casefold(), found.start(), found.end()


class Index:
    """Texts by the words that they hold.

    The score is Okapi's BM25 with the idf that is never negative: Robertson and Zaragoza, The Probabilistic
    Relevance Framework: BM25 and Beyond (2009), equation 3.15.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        counts = [Counter(word for word, _, _ in words_in(text)) for text in texts]
        self._size = len(texts)
        lengths = np.array([count.total() for count in counts], dtype=np.float64)
        typical = float(lengths.mean()) if len(texts) and lengths.any() else 1.0
        self._norms = _SATURATION * (1 - _LENGTH_SHARE + _LENGTH_SHARE * lengths / typical)
        holders: dict[str, list[tuple[int, int]]] = {}
        for place, count in enumerate(counts):
            for word, often in count.items():
                holders.setdefault(word, []).append((place, often))
        self._weights = {word: self._weigh(found) for word, found in holders.items()}

    def nearest(self, text: str, k: int) -> tuple[int, ...]:
        """Places of the k nearest texts, the nearest first, the earlier of equals; also where no word is shared."""
        scores = np.zeros(self._size)
        for word in {word for word, _, _ in words_in(text)}:
            if word in self._weights:
                places, weights = self._weights[word]
                scores[places] += weights
        return tuple(np.argsort(-scores, kind="stable")[:k].tolist())

    def _weigh(self, holders: Sequence[tuple[int, int]]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        places = np.array([place for place, _ in holders], dtype=np.int64)
        often = np.array([count for _, count in holders], dtype=np.float64)
        rarity = math.log(1 + (self._size - len(holders) + 0.5) / (len(holders) + 0.5))
        return places, rarity * often * (_SATURATION + 1) / (often + self._norms[places])
