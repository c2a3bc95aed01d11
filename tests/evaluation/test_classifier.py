from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fewtune.evaluation.classifier import classify, classify_vectors, is_installed
from fewtune.types import Example, Source


def rows(*pairs: tuple[str, str]) -> list[Example]:
    return [
        Example(row=n, prompt=prompt, completion=label, source=Source(file="data.csv", line=n + 2))
        for n, (prompt, label) in enumerate(pairs)
    ]


ROWS = rows(
    ("Where is my parcel?", "delivery"),
    ("The parcel is late", " delivery"),
    ("Give me my money back", "refund"),
    ("I want the money", "refund "),
)


def test_words_tell_the_label_and_how_sure_it_is() -> None:
    found = classify(ROWS, ["a parcel", "my money"])
    assert found is not None
    assert [one.label for one in found] == ["delivery", "refund"]
    for one in found:
        assert math.isclose(sum(map(math.exp, one.log_likelihoods.values())), 1)
        assert one.log_likelihoods[one.label] == max(one.log_likelihoods.values())


def test_one_label_or_no_word_is_nothing_to_learn_from() -> None:
    assert is_installed()
    assert classify(ROWS[:2], ["a parcel"]) is None
    assert classify(rows(("!", "a"), ("?", "b")), ["a parcel"]) is None
    assert classify(ROWS, []) is None


def by_length(texts: Sequence[str]) -> npt.NDArray[np.float32]:
    """Short texts lie one way, long ones the other."""
    return np.asarray([[1, 0] if len(text) < 8 else [0, 1] for text in texts], dtype=np.float32)


def test_vectors_tell_the_label_where_no_word_is_shared() -> None:
    found = classify_vectors(by_length, rows(("and so on it goes", "long"), ("one", "short"), ("two", "short ")), ["x"])
    assert found is not None and [one.label for one in found] == ["short"]
    assert math.isclose(sum(map(math.exp, found[0].log_likelihoods.values())), 1, rel_tol=1e-5)


def test_one_label_is_nothing_to_learn_from_vectors() -> None:
    assert classify_vectors(by_length, ROWS[:2], ["a parcel"]) is None
    assert classify_vectors(by_length, ROWS, []) is None
