"""Which texts are nearly the same.

Texts are compared as sets, and as bags, of shingles by their Jaccard similarity, |A and B| / |A or B|.
MinHash signatures cut into bands find the pairs worth comparing (Leskovec, Rajaraman, Ullman, "Mining of
Massive Datasets", chapter 3); the true similarity then decides, so that no pair is taken for alike by accident.
Texts are worked on in blocks, and of each no more than some bytes of its signature is kept.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import chain
from typing import Any, cast

import numpy as np
import rensa  # pyright: ignore[reportMissingTypeStubs]
from numpy.typing import NDArray

_Numbers = NDArray[np.int64]
_Hashes = NDArray[np.uint64]
_Shingles = Callable[[str], list[str]]

_signatures = cast(
    Callable[[_Hashes, _Hashes, int, int], Any], cast(Any, rensa).RMinHash.digest_matrix_from_flat_token_hashes
)

_BANDS = 12
_BAND_VALUES = 6
"""A pair of similarity s shares a band with probability 1 - (1 - s^6)^12: 0.997 at 0.85, 0.17 at 0.5."""
_VALUES = _BANDS * _BAND_VALUES
_SEED = 1
_BLOCK = 4096
"""Texts whose shingles are in memory at once."""
_DEVIATIONS = 3.0
"""A pair whose signatures agree less than so many standard errors below the threshold is not looked at further;
it costs 0.13 % of the pairs that are just alike."""
_NEIGHBOURS = 64
_PATIENCE = 64
_COST_OF_READING = 8
"""How many others of one bucket a text is compared with, and how much fruitless comparing a text is worth in all
(1 where the signatures differ, 8 where the texts had to be read). They keep the time linear where thousands of
texts are half alike, and ordinary texts never reach them."""

_SHINGLE_CHARACTERS = 4
_SHINGLE_WORDS = 2
_LONGEST_BY_CHARACTERS = 60
_SHORTEST_BY_WORDS = 48
"""Texts between the two lengths are compared both ways, so that no pair falls between the two: at a similarity of
0.8 the shorter has four fifths of the words."""

_MEANT_PUNCTUATION = frozenset("*/%#&@\\")
"""Signs that tell one text from another, as in 6*2 and 6/2, though Unicode files them under punctuation."""


class _Overlooked(dict[int, str]):
    """Translation table, filled as characters turn up: punctuation, spaces and controls become a space."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        kept = unicodedata.category(character)[0] in "LMNS" or character in _MEANT_PUNCTUATION
        return self.setdefault(code, character if kept else " ")


_OVERLOOKED = _Overlooked()
_OVERLOOKED_IN_ASCII = bytes(ord(_OVERLOOKED[code]) for code in range(128)) + bytes(128)


def normalise(text: str) -> str:
    """The text without what a reader overlooks: case, punctuation, spacing, compatibility forms.

    A text of nothing but punctuation stays as it is, stripped.
    """
    if text.isascii():
        # The same in a fifth of the time.
        kept = text.lower().encode("ascii").translate(_OVERLOOKED_IN_ASCII)
        return b" ".join(kept.split()).decode("ascii") or text.strip()
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(folded.translate(_OVERLOOKED).split()) or text.strip()


def clusters(texts: Sequence[str], threshold: float = 0.85) -> tuple[int, ...]:
    """Give each text the number of its cluster; numbers count from 0 in the order of first appearance.

    Two texts whose similarity, as sets and as bags, reaches the threshold share a cluster, and so do two that
    are linked by others. Blank texts are like no other. Short texts are compared by runs of four characters,
    long ones by pairs of words; case and punctuation never count. The same texts give the same clusters on
    every machine.
    The signatures are made for thresholds of about 0.8 and more: below, pairs may be missed.
    """
    forest = _Forest(len(texts))
    short, long = _Sketches(), _Sketches()
    for indices, forms in _distinct(texts, forest):
        words = [form.count(" ") + 1 for form in forms]
        by_characters = [place for place, count in enumerate(words) if count <= _LONGEST_BY_CHARACTERS]
        by_words = [place for place, count in enumerate(words) if count >= _SHORTEST_BY_WORDS]
        for sketches, hashes, chosen in ((short, _character_hashes, by_characters), (long, _word_hashes, by_words)):
            if chosen:
                sketches.add([indices[place] for place in chosen], *hashes([forms[place] for place in chosen]))
    _link(short, partial(_bag, texts, _character_shingles), threshold, forest)
    _link(long, partial(_bag, texts, _word_shingles), threshold, forest)
    return numbered(forest.roots(np.arange(len(texts), dtype=np.int64)).tolist())


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
            before = first.setdefault(number, index)
            if before != index:
                forest.join(before, index)
    return numbered(forest.roots(np.arange(len(groupings[0]), dtype=np.int64)).tolist())


class _Forest:
    """Disjoint sets of the indices below `size`, joined two at a time."""

    def __init__(self, size: int) -> None:
        self._parents: _Numbers = np.arange(size, dtype=np.int64)

    def root(self, index: int) -> int:
        while (parent := int(self._parents[index])) != index:
            self._parents[index] = self._parents[parent]
            index = parent
        return index

    def roots(self, indices: _Numbers) -> _Numbers:
        while not np.array_equal(above := self._parents[indices], indices):
            indices = above
        return indices

    def join(self, one: int, other: int) -> None:
        low, high = sorted((self.root(one), self.root(other)))
        self._parents[high] = low


@dataclass
class _Sketches:
    """What is kept of the signatures: a hash of every band, and of every value the last eight bits."""

    indices: list[int] = field(default_factory=list[int])
    keys: list[_Hashes] = field(default_factory=list[_Hashes])
    values: list[NDArray[np.uint8]] = field(default_factory=list[NDArray[np.uint8]])

    def add(self, indices: Sequence[int], hashes: _Hashes, lengths: _Numbers) -> None:
        """The hashes are those of all shingles, text after text; `lengths` says how many each text has."""
        offsets = np.concatenate((np.zeros(1, np.uint64), np.cumsum(lengths).astype(np.uint64)))
        rows = _signatures(hashes, offsets, _VALUES, _SEED).to_rows()
        values = np.fromiter(chain.from_iterable(rows), np.uint32, len(rows) * _VALUES).reshape(len(rows), _VALUES)
        keys = np.zeros((len(values), _BANDS), np.uint64)
        for place in range(_BAND_VALUES):
            keys = _mixed(keys ^ values[:, place::_BAND_VALUES])
        self.indices += indices
        self.keys.append(keys)
        self.values.append(values.astype(np.uint8))


def _distinct(texts: Sequence[str], forest: _Forest) -> Iterator[tuple[list[int], list[str]]]:
    """Indices and normal forms, in blocks, without blank texts and forms that were there before; those are joined."""
    first: dict[int, int] = {}
    for start in range(0, len(texts), _BLOCK):
        fresh: dict[int, str] = {}
        for index in range(start, min(start + _BLOCK, len(texts))):
            if not (form := normalise(texts[index])):
                continue
            before = first.setdefault(hash(form), index)
            # Equal hashes are no proof; the forms themselves are not kept, since they would fill the memory.
            if before != index and (fresh.get(before) or normalise(texts[before])) == form:
                forest.join(before, index)
            else:
                fresh[index] = form
        yield list(fresh), list(fresh.values())


def _character_shingles(form: str) -> list[str]:
    return [form[start : start + _SHINGLE_CHARACTERS] for start in range(max(1, len(form) - _SHINGLE_CHARACTERS + 1))]


def _word_shingles(form: str) -> list[str]:
    words = form.split(" ")
    return [" ".join(words[start : start + _SHINGLE_WORDS]) for start in range(len(words) - _SHINGLE_WORDS + 1)]


def _mixed(numbers: _Hashes) -> _Hashes:
    """Every bit of a number spread over all 64 (the finaliser of SplitMix64)."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))


def _codes(forms: Sequence[str]) -> _Hashes:
    text = "".join(forms).encode("utf-32-le", errors="surrogatepass")
    return np.frombuffer(text, dtype="<u4").astype(np.uint64)


def _character_hashes(forms: Sequence[str]) -> tuple[_Hashes, _Numbers]:
    """Hashes of the runs of four characters of all forms, one after another, and how many each form has."""
    padded = [form.ljust(_SHINGLE_CHARACTERS, "\0") for form in forms]
    codes = _codes(padded)
    lengths = np.fromiter(map(len, padded), dtype=np.int64)
    inside = _all_but_last(lengths, _SHINGLE_CHARACTERS - 1)
    # A code point has 21 bits.
    runs = codes.copy()
    runs[:-1] |= codes[1:] << np.uint64(21)
    runs[:-2] |= codes[2:] << np.uint64(42)
    runs = _mixed(runs)
    runs[:-3] += codes[3:]
    return _mixed(runs[inside]), lengths - (_SHINGLE_CHARACTERS - 1)


def _word_hashes(forms: Sequence[str]) -> tuple[_Hashes, _Numbers]:
    """Hashes of the pairs of words of all forms, one after another, and how many each form has."""
    codes = _codes([form + " " for form in forms])
    spaces = codes == np.uint64(32)
    starts = np.concatenate((np.zeros(1, np.int64), np.flatnonzero(spaces)[:-1] + 1))
    lengths = np.diff(np.append(starts, len(codes)))
    places = np.arange(len(codes), dtype=np.int64) - np.repeat(starts, lengths)
    letters = _mixed(codes | (places.astype(np.uint64) << np.uint64(21)))
    words = _mixed(np.add.reduceat(letters, starts))
    counts = np.fromiter((form.count(" ") + 1 for form in forms), dtype=np.int64)
    pairs = words[:-1] + _mixed(words[1:])
    return _mixed(pairs[_all_but_last(counts, 1)[:-1]]), counts - 1


def _all_but_last(lengths: _Numbers, count: int) -> NDArray[np.bool_]:
    """For stretches of these lengths laid end to end: True but for the last `count` of each."""
    chosen = np.ones(int(lengths.sum()), dtype=np.bool_)
    ends = np.cumsum(lengths)
    for back in range(1, count + 1):
        chosen[ends - back] = False
    return chosen


_Bag = tuple[frozenset[str], Mapping[str, int]]
"""The shingles, and how often more than once those occur that do."""


def _bag(texts: Sequence[str], shingles: _Shingles, index: int) -> _Bag:
    found = shingles(normalise(texts[index]))
    kinds = frozenset(found)
    if len(kinds) == len(found):
        return kinds, {}
    return kinds, {one: count - 1 for one, count in Counter(found).items() if count > 1}


def _are_alike(one: _Bag, other: _Bag, threshold: float) -> bool:
    """As sets and as bags: long texts over few letters, such as DNA, differ in nothing but the repetitions."""
    common, size = len(one[0] & other[0]), len(one[0]) + len(other[0])
    if common < threshold * (size - common):
        return False
    common += sum(min(count, other[1].get(shingle, 0)) for shingle, count in one[1].items())
    size += sum(one[1].values()) + sum(other[1].values())
    return common >= threshold * (size - common)


def _link(sketches: _Sketches, bag: Callable[[int], _Bag], threshold: float, forest: _Forest) -> None:
    """Join in the forest whatever is alike, looking only at pairs that share a band of their signatures."""
    if not sketches.indices:
        return
    indices = np.array(sketches.indices, dtype=np.int64)
    values = np.concatenate(sketches.values)
    cached = lru_cache(maxsize=1024)(bag)
    least = _VALUES * threshold - _DEVIATIONS * (_VALUES * threshold * (1 - threshold)) ** 0.5
    spent = np.zeros(len(indices), dtype=np.int64)
    for band in range(_BANDS):
        for one, other in _pairs(np.concatenate([keys[:, band] for keys in sketches.keys])):
            open_ = (spent[one] < _PATIENCE) & (forest.roots(indices[one]) != forest.roots(indices[other]))
            one, other = one[open_], other[open_]
            promising = _agreement(values, one, other) >= least
            np.add.at(spent, one[~promising], 1)
            for here, there in zip(one[promising].tolist(), other[promising].tolist(), strict=True):
                first, second = int(indices[here]), int(indices[there])
                if forest.root(first) == forest.root(second):
                    continue
                if _are_alike(cached(first), cached(second), threshold):
                    forest.join(first, second)
                else:
                    spent[here] += _COST_OF_READING


def _pairs(keys: _Hashes) -> Iterator[tuple[_Numbers, _Numbers]]:
    """Places with the same key, by twos, the later place first; those that stand next to each other before others."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    same = ordered[1:] == ordered[:-1]
    crowded = np.concatenate((same, [False])) | np.concatenate(([False], same))
    order, ordered = order[crowded], ordered[crowded]
    for distance in range(1, _NEIGHBOURS + 1):
        found = np.flatnonzero(ordered[distance:] == ordered[:-distance])
        if not len(found):
            return
        yield order[found + distance], order[found]


def _agreement(values: NDArray[np.uint8], one: _Numbers, other: _Numbers) -> _Numbers:
    """In how many values the signatures agree."""
    counts = [
        np.count_nonzero(values[one[start : start + _BLOCK]] == values[other[start : start + _BLOCK]], axis=1)
        for start in range(0, len(one), _BLOCK)
    ]
    return np.concatenate([np.zeros(0, np.int64), *counts])
