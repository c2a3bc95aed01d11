from __future__ import annotations

import pytest

from fewtune.cost.answers import FREE, answer_rate
from fewtune.cost.prices import load, parse

TABLE = """
[[price]]
service = "{service}"
model = "small"
what = "{what}"
usd = {usd}
source = "https://example.com/pricing"
date = 2026-10-07
verified = true
note = "A note."
"""


def table(*entries: tuple[str, str, str]) -> str:
    return "".join(TABLE.format(service=service, what=what, usd=usd) for service, what, usd in entries)


def test_of_several_prices_the_dearest_is_reckoned_with() -> None:
    text = table(("One", "input", "1"), ("One", "output", "[2, 4]"), ("Two", "input", "[1, 3]"), ("Two", "output", "2"))
    rate = answer_rate(parse(text, where="test"), "small")
    assert rate and rate.usd(1_000_000, 1_000_000) == pytest.approx(7)


def test_half_a_price_is_none() -> None:
    assert answer_rate(parse(table(("One", "input", "1")), where="test"), "small") is None
    assert answer_rate(load(), "nobody's model") is None


def test_a_model_on_this_machine_costs_nothing() -> None:
    assert FREE.usd(10**9, 10**9) == 0
