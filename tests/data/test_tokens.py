from __future__ import annotations

import random

from fewtune.bases.folder import open_encoder
from fewtune.data.tokens import count_tokens
from fewtune.types import Example, Source


def rows(number: int) -> list[Example]:
    chance = random.Random(1)
    words = ["the", "old", "lamp", "house", "river", "went", "under", "a", "blue", "heavy", "morning", "somebody's"]
    source = Source(file="rows.csv", line=1)
    return [
        Example(
            row=row,
            prompt=" ".join(chance.choices(words, k=chance.randint(1, 12))),
            completion=" ".join(chance.choices(words, k=chance.randint(1, 30))),
            source=source,
        )
        for row in range(number)
    ]


def test_few_rows_are_counted_to_the_token() -> None:
    encoder, examples = open_encoder("pocket"), rows(50)
    encoded = [encoder.example(example) for example in examples]
    found = count_tokens(examples, encoder)
    assert found.all.value == found.all.low == found.all.high == sum(len(one.ids) for one in encoded)
    assert found.trained.value == sum(one.trained_tokens for one in encoded)
    assert found.counted_rows == 50


def test_many_rows_are_estimated_and_the_interval_holds_the_truth() -> None:
    encoder, examples = open_encoder("pocket"), rows(20_500)
    found = count_tokens(examples, encoder)
    encoded = [encoder.example(example) for example in examples]
    truth, trained = sum(len(one.ids) for one in encoded), sum(one.trained_tokens for one in encoded)
    assert found.counted_rows == 2_000
    assert found.all.low < truth < found.all.high and abs(found.all.value / truth - 1) < 0.02
    assert found.trained.low < trained < found.trained.high


def test_no_rows_have_no_tokens() -> None:
    assert count_tokens([], open_encoder("pocket")).all.value == 0
