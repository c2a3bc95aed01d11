from __future__ import annotations

from datetime import date

import pytest

from fewtune.cost.prices import available, load, parse
from fewtune.errors import FewtuneError

GOOD = """
[[price]]
service = "Example"
model = "small"
what = "train"
usd = 0.5
source = "https://example.com/pricing"
date = 2026-10-07
verified = true
note = "A note."
"""


def test_a_price_is_never_shown_without_its_source_and_date() -> None:
    for price in load():
        assert price.source.startswith("https://"), price
        assert date(2026, 1, 1) <= price.date <= date(2026, 12, 31), price
        assert price.note, price


def test_the_table_knows_at_least_six_services_and_each_rate_once() -> None:
    prices = load()
    assert len({price.service for price in prices if price.what == "train"}) >= 6
    assert len({(price.service, price.model, price.what) for price in prices}) == len(prices)


def test_a_range_keeps_both_ends_and_a_single_price_has_equal_ones() -> None:
    by_key = {(price.service, price.model): price for price in load() if price.what == "train"}
    together, crusoe = by_key["Together", "up to 16B"], by_key["Crusoe", "Llama 3.1 8B Instruct"]
    assert (together.low, together.high) == (0.48, 1.35)
    assert crusoe.low == crusoe.high == 0.40


def test_what_was_not_read_at_the_service_is_marked() -> None:
    verified = {price.service: price.verified for price in load()}
    assert verified["OpenAI"] is False
    assert verified["Fireworks"] is True


def test_a_service_that_takes_no_new_jobs_is_not_available() -> None:
    prices = load()
    before = {price.service for price in available(prices, date(2027, 1, 6)) if price.what == "train"}
    after = {price.service for price in available(prices, date(2027, 1, 7)) if price.what == "train"}
    assert before - after == {"OpenAI"}
    assert "Prime Intellect" not in before


def test_a_good_entry_is_read_with_its_defaults() -> None:
    (price,) = parse(GOOD, where="mine.toml")
    assert (price.low, price.high, price.validation, price.last_day) == (0.5, 0.5, "unknown", None)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('source = "https://example.com/pricing"', "", "no source"),
        ('source = "https://example.com/pricing"', 'source = " "', "source is empty"),
        ("date = 2026-10-07", "", "no date"),
        ("date = 2026-10-07", 'date = "last week"', "date"),
        ("usd = 0.5", "", "no usd"),
        ("usd = 0.5", "usd = -1", "usd"),
        ("usd = 0.5", "usd = [2, 1]", "usd"),
        ("usd = 0.5", "usd = true", "usd"),
        ("usd = 0.5", "usd = nan", "usd"),
        ('what = "train"', 'what = "lunch"', "what is none of"),
        ("verified = true", 'verified = "yes"', "verified"),
        ('note = "A note."', 'note = "A note."\nvat = 19', "unknown vat"),
    ],
)
def test_an_entry_that_could_mislead_is_refused_with_its_place(old: str, new: str, complaint: str) -> None:
    assert old in GOOD
    with pytest.raises(FewtuneError, match=complaint) as caught:
        parse(GOOD + GOOD.replace(old, new), where="mine.toml")
    assert caught.value.where == "mine.toml, price 2"
