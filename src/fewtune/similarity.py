"""Which texts are nearly the same.

Texts are compared as sets, and as bags, of shingles by their Jaccard similarity, |A and B| / |A or B|.
MinHash signatures cut into bands find the pairs worth comparing (Leskovec, Rajaraman, Ullman, "Mining of
Massive Datasets", chapter 3); the true similarity then decides, so that no pair is taken for alike by accident.
"""

from __future__ import annotations

import unicodedata
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any, cast

import rensa  # pyright: ignore[reportMissingTypeStubs]

_signatures = cast(
    Callable[[list[list[str]], int, int], list[list[int]]], cast(Any, rensa).RMinHash.digests_from_token_sets
)

_BANDS = 32
_BAND_VALUES = 8
"""A pair of similarity s shares a band with probability 1 - (1 - s^8)^32: 0.99996 at 0.85, 0.12 at 0.5."""
_SEED = 1
_BATCH = 2048
"""Signatures made at once; bounds the memory they take as Python numbers."""
_NEIGHBOURS = 64
_FRUITLESS = 64
"""Most texts of one bucket, and most unlike texts in all, that a text is compared with: they keep the time
linear where thousands of texts are half alike, and ordinary texts never reach them."""

_SHINGLE_CHARACTERS = 4
_SHINGLE_WORDS = 2
_LONGEST_BY_CHARACTERS = 60
_SHORTEST_BY_WORDS = 40
"""Texts between the two lengths are compared both ways, so that no pair falls between the two."""

_MEANT_PUNCTUATION = frozenset("*/%#&@\\")
"""Signs that tell one text from another, as in 6*2 and 6/2, though Unicode files them under punctuation."""


class _Overlooked(dict[int, str]):
    """Translation table, filled as characters turn up: punctuation, spaces and controls become a space."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        kept = unicodedata.category(character)[0] in "LMNS" or character in _MEANT_PUNCTUATION
        return self.setdefault(code, character if kept else " ")


_OVERLOOKED = _Overlooked()


def normalise(text: str) -> str:
    """The text without what a reader overlooks: case, punctuation, spacing, compatibility forms.

    A text of nothing but punctuation stays as it is, stripped.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(folded.translate(_OVERLOOKED).split()) or text.strip()


def clusters(texts: Sequence[str], threshold: float = 0.85) -> tuple[int, ...]:
    """Give each text the number of its cluster; numbers count from 0 in the order of first appearance.

    Two texts whose similarity, as sets and as bags, reaches the threshold share a cluster, and so do two that
    are linked by others. Blank texts are like no other. Short texts are compared by runs of four characters,
    long ones by pairs of words; case and punctuation never count. The same texts give the same clusters on
    every machine.
    The signatures are made for thresholds of about 0.7 and more: below, pairs may be missed.
    """
    members = _by_normal_form(texts)
    forest = _Forest(len(members))
    for shingles, short in ((_character_shingles, True), (_word_shingles, False)):
        chosen = {index: text for index, text in enumerate(members) if _compared(text, short=short)}
        _link(chosen, shingles, threshold, forest)
    roots = [0] * len(texts)
    for index, positions in enumerate(members.values()):
        for position in positions:
            roots[position] = forest.root(index)
    return numbered(roots)


def numbered(keys: Iterable[object]) -> tuple[int, ...]:
    """Equal keys get equal numbers, counted from 0 in the order of first appearance."""
    numbers: dict[object, int] = {}
    return tuple(numbers.setdefault(key, len(numbers)) for key in keys)


def joined(*groupings: Sequence[int]) -> tuple[int, ...]:
    """The finest grouping in which whatever shares a number in any of the given groupings stays together."""
    forest = _Forest(len(groupings[0]))
    for grouping in groupings:
        first: dict[int, int] = {}
        for index, number in enumerate(grouping):
            forest.join(first.setdefault(number, index), index)
    return numbered(forest.root(index) for index in range(len(groupings[0])))


class _Forest:
    """Disjoint sets of the indices below `size`, joined two at a time."""

    def __init__(self, size: int) -> None:
        self._parents = list(range(size))

    def root(self, index: int) -> int:
        while self._parents[index] != index:
            self._parents[index] = self._parents[self._parents[index]]
            index = self._parents[index]
        return index

    def join(self, one: int, other: int) -> None:
        low, high = sorted((self.root(one), self.root(other)))
        self._parents[high] = low


def _by_normal_form(texts: Sequence[str]) -> dict[str, list[int]]:
    """Positions of the texts by their normal form; each blank text stands alone."""
    members: dict[str, list[int]] = {}
    for position, text in enumerate(texts):
        key = normalise(text) or f" {position}"
        members.setdefault(key, []).append(position)
    return members


def _compared(text: str, *, short: bool) -> bool:
    if text.startswith(" "):
        return False
    words = text.count(" ") + 1
    return words <= _LONGEST_BY_CHARACTERS if short else words >= _SHORTEST_BY_WORDS


def _character_shingles(text: str) -> list[str]:
    return [text[start : start + _SHINGLE_CHARACTERS] for start in range(max(1, len(text) - _SHINGLE_CHARACTERS + 1))]


def _word_shingles(text: str) -> list[str]:
    words = text.split(" ")
    return [" ".join(words[start : start + _SHINGLE_WORDS]) for start in range(len(words) - _SHINGLE_WORDS + 1)]


def _link(texts: Mapping[int, str], shingles: Callable[[str], list[str]], threshold: float, forest: _Forest) -> None:
    """Join in the forest whatever is alike, looking only at pairs that share a band of their signatures."""

    @lru_cache(maxsize=8192)
    def kinds(index: int) -> frozenset[str]:
        return frozenset(shingles(texts[index]))

    def alike(one: int, other: int) -> bool:
        if _of_sets(kinds(one), kinds(other)) < threshold:
            return False
        return _of_bags(Counter(shingles(texts[one])), Counter(shingles(texts[other]))) >= threshold

    fruitless: Counter[int] = Counter()
    for bucket in _buckets(_packed_signatures(texts, shingles)):
        if len({forest.root(index) for index in bucket}) > 1:
            for position, index in enumerate(bucket):
                _compare(index, bucket[max(0, position - _NEIGHBOURS) : position], alike, forest, fruitless)


def _compare(
    one: int, others: Sequence[int], alike: Callable[[int, int], bool], forest: _Forest, fruitless: Counter[int]
) -> None:
    for other in others:
        if fruitless[one] >= _FRUITLESS:
            return
        if forest.root(one) == forest.root(other):
            continue
        if alike(one, other):
            forest.join(one, other)
        else:
            fruitless[one] += 1


def _packed_signatures(texts: Mapping[int, str], shingles: Callable[[str], list[str]]) -> dict[int, bytes]:
    packed: dict[int, bytes] = {}
    indices = iter(texts)
    while batch := list(islice(indices, _BATCH)):
        rows = _signatures([shingles(texts[index]) for index in batch], _BANDS * _BAND_VALUES, _SEED)
        packed.update((index, array("I", row).tobytes()) for index, row in zip(batch, rows, strict=True))
    return packed


def _buckets(packed: Mapping[int, bytes]) -> list[tuple[int, ...]]:
    """Groups of at least two indices whose signatures agree in a whole band, the smallest, so the surest, first."""
    width = _BAND_VALUES * array("I").itemsize
    found: dict[tuple[int, ...], None] = {}
    for start in range(0, _BANDS * width, width):
        buckets: defaultdict[bytes, list[int]] = defaultdict(list)
        for index, signature in packed.items():
            buckets[signature[start : start + width]].append(index)
        found.update((tuple(bucket), None) for bucket in buckets.values() if len(bucket) > 1)
    return sorted(found, key=len)


def _of_sets(one: frozenset[str], other: frozenset[str]) -> float:
    common = len(one & other)
    return common / (len(one) + len(other) - common)


def _of_bags(one: Counter[str], other: Counter[str]) -> float:
    """With every repetition counted: long texts over few letters, such as DNA, differ in nothing else."""
    common = (one & other).total()
    return common / (one.total() + other.total() - common)
