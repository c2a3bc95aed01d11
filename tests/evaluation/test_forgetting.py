from __future__ import annotations

import math

from fewtune.evaluation.forgetting import bits_per_byte, change, prose


def test_the_prose_is_about_twenty_kilobytes_in_paragraphs_of_their_own() -> None:
    texts = prose()
    assert 19_000 <= sum(len(text.encode()) for text in texts) <= 23_000
    assert len(set(texts)) == len(texts) >= 40
    assert all("\n" not in text and text == text.strip() and len(text) > 200 for text in texts)


def test_a_coin_flip_a_byte_is_one_bit_a_byte() -> None:
    assert bits_per_byte([-math.log(2)] * 4, "abcd") == 1
    assert bits_per_byte([-math.log(2)] * 4, "éé") == 1


def test_the_interval_is_of_after_minus_before_by_paragraph() -> None:
    before = [1.0, 1.5, 2.0, 1.2, 1.8, 1.1]
    found = change(before, [value + 0.1 + place / 100 for place, value in enumerate(before)], ["ab"] * 6)
    assert math.isclose(found.after - found.before, 0.125)
    assert found.interval and 0.1 < found.interval.low < 0.125 < found.interval.high < 0.16
    assert found.bytes == 12


def test_one_paragraph_tells_no_interval() -> None:
    assert change([1.0], [1.1], ["ab"]).interval is None
