from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewtune.similarity import clusters, joined, normalise, numbered

LEXICON = [
    f"{start}{end}" for start in ("ba", "cor", "del", "fim", "gul", "hes") for end in ("tan", "ric", "mole", "pu")
]


def words(chance: random.Random, count: int) -> list[str]:
    return [f"{chance.choice(LEXICON)}{chance.randrange(100)}" for _ in range(count)]


def partition(numbers: Sequence[int]) -> set[frozenset[int]]:
    return {frozenset(index for index, number in enumerate(numbers) if number == wanted) for wanted in set(numbers)}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Hello,  World!", "hello world"),
        ("auto-top up", "Auto top-up"),
        ("ﬁne", "FINE"),
        ("Straße", "STRASSE"),
    ],
)
def test_case_punctuation_spacing_and_compatibility_forms_are_overlooked(one: str, other: str) -> None:
    assert normalise(one) == normalise(other)


@pytest.mark.parametrize(
    ("one", "other"), [("6*2", "6/2"), ("कि", "का"), ("good 👍", "good 👎"), ("!!", "??"), ("C#", "C")]
)
def test_what_tells_texts_apart_is_kept(one: str, other: str) -> None:
    assert normalise(one) != normalise(other)


def test_texts_with_a_small_change_share_a_cluster_and_others_do_not() -> None:
    texts = [
        "The bedspread is lovely but it's far too small for our bed.",
        "Where is my parcel?",
        "the bedspread is lovely but it is far too small for our bed",
        "Where is my invoice?",
        "Where is my parcel",
    ]
    assert clusters(texts) == (0, 1, 0, 2, 1)


@pytest.mark.parametrize("length", [8, 30, 39, 40, 50, 60, 61, 200])
def test_one_more_word_makes_no_new_text_at_any_length(length: int) -> None:
    chance = random.Random(length)
    text = words(chance, length)
    crowd = [" ".join(words(chance, length)) for _ in range(20)]
    found = clusters([*crowd, " ".join(text), " ".join([*text, "too"])])
    assert found[-1] == found[-2]
    assert len(set(found)) == len(crowd) + 1


def test_texts_that_share_half_of_their_words_are_not_alike() -> None:
    chance = random.Random(1)
    shared = words(chance, 25)
    texts = [" ".join([*shared, *words(chance, 25)]) for _ in range(60)]
    assert clusters(texts) == tuple(range(60))


def test_long_texts_over_few_letters_are_told_apart() -> None:
    chance = random.Random(3)
    sequences = ["".join(chance.choices("ACGT", k=2000)) for _ in range(20)]
    assert clusters(sequences) == tuple(range(20))
    assert clusters([sequences[0], f"{sequences[0]}ACGT"]) == (0, 0)


@pytest.mark.parametrize("length", [30, 150])
def test_of_texts_that_are_just_alike_nearly_all_are_found(length: int) -> None:
    chance = random.Random(length)
    texts: list[str] = []
    while len(texts) < 600:
        text = words(chance, length)
        changed = list(text)
        for place in chance.sample(range(length), chance.choice((1, 2)) * max(1, length // 50)):
            changed[place] = words(chance, 1)[0]
        if 0.85 <= similarity(text, changed) < 0.93:
            texts += [" ".join(text), " ".join(changed)]
    found = clusters(texts)
    assert sum(found[place] == found[place + 1] for place in range(0, 600, 2)) >= 297


def similarity(one: Sequence[str], other: Sequence[str]) -> float:
    """Of short texts by runs of four characters, of long ones by pairs of words; the less of sets and of bags."""

    def pieces(text: Sequence[str]) -> Counter[str]:
        if len(text) > 60:
            return Counter(" ".join(text[place : place + 2]) for place in range(len(text) - 1))
        return Counter(" ".join(text)[place : place + 4] for place in range(len(" ".join(text)) - 3))

    some, others = pieces(one), pieces(other)
    sets = len(some.keys() & others.keys()) / len(some.keys() | others.keys())
    return min(sets, (some & others).total() / (some | others).total())


def test_thousands_of_half_alike_texts_stay_apart() -> None:
    chance = random.Random(4)
    shared = words(chance, 20)
    texts = [" ".join([*shared, *words(chance, 9)]) for _ in range(1500)]
    assert len(set(clusters(texts))) == 1500


def test_links_of_a_chain_are_one_cluster() -> None:
    chance = random.Random(2)
    text = words(chance, 60)
    chain = [" ".join(text[start : start + 50]) for start in range(8)]
    assert set(clusters(chain)) == {0}


def test_blank_texts_are_like_no_other() -> None:
    assert clusters(["", " ", "", "a"]) == (0, 1, 2, 3)
    assert clusters([]) == ()


def test_a_higher_threshold_keeps_more_texts_apart() -> None:
    texts = ["Do you charge for transfers?", "why do you charge for transfers?"]
    assert clusters(texts, threshold=0.8) == (0, 0)
    assert clusters(texts, threshold=0.95) == (0, 1)


TEXTS = st.lists(st.lists(st.sampled_from(LEXICON[:4]), max_size=4).map(" ".join) | st.text(max_size=12), max_size=15)


@settings(deadline=None)
@given(texts=TEXTS)
def test_no_clusters_depend_on_the_order_of_the_texts(texts: list[str]) -> None:
    size = len(texts)
    backwards = clusters(texts[::-1])
    assert partition(clusters(texts)) == partition([backwards[size - 1 - index] for index in range(size)])


@settings(deadline=None)
@given(texts=TEXTS)
def test_texts_with_one_normal_form_share_a_cluster_and_numbers_rise_from_zero(texts: list[str]) -> None:
    found = clusters(texts)
    assert numbered(found) == found
    forms = {normalise(text): number for text, number in zip(texts, found, strict=True)}
    assert all(forms[normalise(text)] == number for text, number in zip(texts, found, strict=True) if text.strip())


GROUPINGS = st.integers(1, 12).flatmap(
    lambda size: st.tuples(*[st.lists(st.integers(0, 5), min_size=size, max_size=size)] * 2)
)


@settings(deadline=None)
@given(groupings=GROUPINGS)
def test_joined_groups_hold_together_what_either_grouping_holds(groupings: tuple[list[int], list[int]]) -> None:
    together = partition(joined(*groupings))
    for grouping in groupings:
        assert all(any(group <= whole for whole in together) for group in partition(grouping))


def test_joining_makes_no_more_than_it_must() -> None:
    assert joined([0, 0, 1, 2, 3], [5, 6, 6, 7, 8]) == (0, 0, 0, 1, 2)
