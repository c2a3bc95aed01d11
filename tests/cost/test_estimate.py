from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewtune.cost.estimate import (
    LOCAL,
    MachineSpeed,
    Offer,
    Range,
    Tokens,
    approximate_tokens,
    estimate,
    spoken_duration,
)
from fewtune.cost.prices import Price, load

TOKENS = Tokens(train_per_epoch=Range.exactly(1_000_000), valid=Range.exactly(100_000))
PRICE = Price(
    service="Example",
    model="small",
    what="train",
    low=0.5,
    high=0.5,
    source="https://example.com/pricing",
    date=date(2026, 10, 7),
    verified=True,
    validation="unknown",
    last_day=None,
    note="A note.",
)


def offer_of(price: Price, validations: int = 3) -> Offer:
    (offer,) = estimate(TOKENS, epochs_total=4, validations=validations, prices=[price], machine=None)
    return offer


@pytest.mark.parametrize(
    ("validation", "low", "high"), [("each", 4.3e6, 4.3e6), ("once", 4.1e6, 4.1e6), ("unknown", 4.0e6, 4.3e6)]
)
def test_validation_is_billed_as_the_service_says_and_is_a_range_where_it_does_not_say(
    validation: str, low: float, high: float
) -> None:
    offer = offer_of(replace(PRICE, validation=validation))  # pyright: ignore[reportArgumentType]
    assert (offer.tokens_billed.low, offer.tokens_billed.high) == (low, high)
    assert offer.usd.low == pytest.approx(low * 0.5e-6)
    assert offer.usd.high == pytest.approx(high * 0.5e-6)


def test_without_validation_passes_nothing_is_billed_for_them() -> None:
    for validation in ("each", "once", "unknown"):
        offer = offer_of(replace(PRICE, validation=validation), validations=0)
        assert offer.tokens_billed == Range.exactly(4_000_000)


def test_a_range_of_prices_and_a_range_of_tokens_multiply_end_by_end() -> None:
    tokens = Tokens(train_per_epoch=Range(low=1e6, high=2e6), valid=Range.exactly(0))
    (offer,) = estimate(tokens, epochs_total=1, validations=1, prices=[replace(PRICE, high=2.0)], machine=None)
    assert (offer.usd.low, offer.usd.high) == (pytest.approx(0.5), pytest.approx(4.0))


def test_an_offer_carries_the_source_the_date_and_the_doubt_of_its_price() -> None:
    for offer, price in ((offer_of(price), price) for price in load() if price.what == "train"):
        assert (offer.source, offer.date, offer.verified, offer.note) == (
            price.source,
            price.date,
            price.verified,
            price.note,
        )
        assert offer.seconds is None


def test_only_training_prices_become_offers_cheapest_first() -> None:
    dear, free = replace(PRICE, service="Dear", low=9.0, high=9.0), replace(PRICE, what="hosting", low=0.0, high=0.0)
    offers = estimate(TOKENS, epochs_total=1, validations=0, prices=[dear, free, PRICE], machine=None)
    assert [offer.service for offer in offers] == ["Example", "Dear"]


def test_this_machine_comes_first_charges_nothing_and_takes_a_range_of_seconds() -> None:
    machine = MachineSpeed(tokens_per_second=1000, basis="measured on 3 batches")
    local, hosted = estimate(TOKENS, epochs_total=4, validations=3, prices=[PRICE], machine=machine)
    assert (local.service, local.usd, local.source) == (LOCAL, Range.exactly(0), "measured on 3 batches")
    assert local.seconds is not None
    assert local.seconds.low < 4000 + 300 / 2 < 4300 < local.seconds.high
    assert local.likely_seconds == pytest.approx(4300)
    assert (hosted.service, hosted.likely_seconds) == ("Example", None)


def test_the_tokens_of_prose_lie_in_the_approximate_range() -> None:
    tokens = approximate_tokens("a" * 4000)
    assert (tokens.low, tokens.high) == (800, 2000)
    assert approximate_tokens("") == Range.exactly(0)


@given(st.text())
def test_approximate_tokens_count_bytes_not_characters(text: str) -> None:
    tokens = approximate_tokens(text)
    assert tokens.low <= len(text.encode()) / 4 <= tokens.high


@pytest.mark.parametrize(
    ("seconds", "spoken"),
    [
        (0, "under 1 s"),
        (0.99, "under 1 s"),
        (45.2, "45 s"),
        (59.7, "1 min"),
        (130, "2 min 10 s"),
        (3599.8, "1 h"),
        (11_100, "3 h 5 min"),
        (86_399, "1 d"),
        (187_200, "2 d 4 h"),
    ],
)
def test_a_duration_is_spoken_in_at_most_two_units(seconds: float, spoken: str) -> None:
    assert spoken_duration(seconds) == spoken
