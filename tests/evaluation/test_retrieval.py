from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fewtune.evaluation.retrieval import Index, words_in

TEXTS = st.lists(st.text("ab c", min_size=0, max_size=12), min_size=1, max_size=8)


def test_case_and_punctuation_are_overlooked() -> None:
    assert [word for word, _, _ in words_in("The cat's OUT, twice!")] == ["the", "cat", "s", "out", "twice"]


def test_every_word_knows_where_it_stands() -> None:
    text = "Ein Wort – und noch eins: 猫 犬"
    assert all(text[begin:end].casefold() == word for word, begin, end in words_in(text))


def test_a_language_without_spaces_is_taken_character_by_character() -> None:
    assert [word for word, _, _ in words_in("猫は犬")] == ["猫", "は", "犬"]
    assert Index(["黒い犬がいる", "白い猫がいる"]).nearest("猫はどこ", 1) == (1,)


@given(TEXTS, st.text("ab c", max_size=12), st.integers(0, 9))
def test_the_nearest_are_as_many_as_asked_for_and_distinct(texts: list[str], text: str, k: int) -> None:
    found = Index(texts).nearest(text, k)
    assert len(found) == len(set(found)) == min(k, len(texts))


def test_a_rare_word_counts_more_than_a_frequent_one() -> None:
    index = Index(["please help", "please wait", "please come", "lamp"])
    assert index.nearest("please lamp", 1) == (3,)


def test_of_equals_the_earlier_comes_first() -> None:
    assert Index(["a b", "a b", "c"]).nearest("a", 3) == (0, 1, 2)
