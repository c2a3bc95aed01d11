"""What a hosted model's answers cost, by the tokens that it reads and writes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fewtune.cost.prices import Price

_MILLION = 1_000_000


@dataclass(frozen=True, kw_only=True)
class AnswerRate:
    """Dollars per token; of a price with two ends the upper one."""

    read: float
    written: float

    def usd(self, read: int, written: int) -> float:
        return self.read * read + self.written * written


FREE = AnswerRate(read=0.0, written=0.0)
"""Of a model on this machine."""


def answer_rate(prices: Iterable[Price], model: str) -> AnswerRate | None:
    """The dearest known rate of the model by that name; None where the table does not have both its prices."""
    found = [price for price in prices if price.model == model]
    read = [price.high for price in found if price.what == "input"]
    written = [price.high for price in found if price.what == "output"]
    if not (read and written):
        return None
    return AnswerRate(read=max(read) / _MILLION, written=max(written) / _MILLION)
