"""What a training would take, before it starts: tokens, dollars and seconds, each as a range.

Training and its validation passes alone are counted. Answering the test rows and keeping a tuned model
reachable come on top; on a hosted service the second is usually the larger bill.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterable
from dataclasses import dataclass

from fewtune.cost.prices import Price

LOCAL = "this machine"

SPEED_SPREAD = 1.5
"""A speed measured on a few batches is taken to hold within this factor, as other rows and other work on the
machine move it. An assumption, not a measurement."""
_FORWARD_SHARE = 0.5
"""A validation token costs at least this share of a trained one: LoRA training takes about 4 operations per
weight and token (forward 2, gradients of the activations 2), measuring a loss takes 2."""


@dataclass(frozen=True, kw_only=True)
class Range:
    """Two ends of something that is not known exactly; equal ends where it is."""

    low: float
    high: float

    @classmethod
    def exactly(cls, value: float) -> Range:
        return cls(low=value, high=value)

    def __add__(self, other: Range) -> Range:
        return Range(low=self.low + other.low, high=self.high + other.high)

    def times(self, low: float, high: float) -> Range:
        """Multiplied by a factor that itself lies between two non-negative ends."""
        return Range(low=self.low * low, high=self.high * high)


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """The size of the data, prompts and answers together.

    Services count with their own tokenizers, so for them even a count by the base's is approximate.
    """

    train_per_epoch: Range
    valid: Range
    """One pass over the validation rows."""


@dataclass(frozen=True, kw_only=True)
class MachineSpeed:
    """How fast this machine trains."""

    tokens_per_second: float
    """Trained tokens, all trials together; above 0."""
    basis: str
    """Where the number comes from, for the reader: `measured on 3 batches`, `from the last run`."""


@dataclass(frozen=True, kw_only=True)
class Offer:
    """One way to have the training done; shown with its source and date or not at all."""

    service: str
    model: str | None
    """None for this machine: it is the base that the user chose."""
    tokens_billed: Range
    usd: Range
    seconds: Range | None
    """None where nobody says how long it takes, as for a service with a queue."""
    likely_seconds: float | None
    """At the speed that was measured, and midway between the fewest and the most epochs."""
    source: str
    """Address of the price; for this machine the basis of its speed."""
    date: datetime.date | None
    """When the price was read; None for this machine, which charges nothing."""
    verified: bool
    """As in `Price`; the speed of this machine is an estimate and never counts as verified."""
    note: str


def estimate(
    tokens: Tokens,
    *,
    epochs_total: int,
    validations: int,
    prices: Iterable[Price],
    machine: MachineSpeed | None,
) -> tuple[Offer, ...]:
    """This machine's offer, if its speed is known, then the services', cheapest first by their upper end.

    `epochs_total` is the sum over all trainings, `validations` the number of passes over the validation rows.
    Where it is unknown whether a service bills validation, the lower end leaves it out and the upper end
    counts every pass. Prices that are not for training are passed over; `prices.available` leaves out
    services that have closed.
    """
    trained = tokens.train_per_epoch.times(epochs_total, epochs_total)
    validated = tokens.valid.times(validations, validations)
    hosted = [
        _hosted(price, trained + _validation_billed(price, tokens.valid, validations))
        for price in prices
        if price.what == "train"
    ]
    local = () if machine is None else (_local(machine, trained, validated),)
    return (*local, *sorted(hosted, key=lambda offer: (offer.usd.high, offer.usd.low)))


def approximate_tokens(text: str) -> Range:
    """Tokens of a text without a tokenizer: UTF-8 bytes over 5, to bytes over 2.

    Bytes over 4 is the usual rule of thumb for English prose. Large vocabularies come near 5 on plain
    prose; small ones, code, JSON and other scripts near 2: the built-in base's tokenizer gives 3.4 bytes per
    token on short prose and 2.2 on JSON answers.
    """
    size = len(text.encode(errors="surrogatepass"))
    return Range(low=math.floor(size / 5), high=math.ceil(size / 2))


def spoken_duration(seconds: float) -> str:
    """`under 1 s`, `45 s`, `2 min 10 s`, `3 h 5 min`, `2 d 4 h`: two units at most, the second one rounded."""
    if seconds < 1:
        return "under 1 s"
    if round(seconds) < 60:
        return f"{round(seconds)} s"
    if round(seconds) < 3600:
        return _two_units(round(seconds), 60, "min", "s")
    if round(seconds / 60) < 24 * 60:
        return _two_units(round(seconds / 60), 60, "h", "min")
    return _two_units(round(seconds / 3600), 24, "d", "h")


def _two_units(count: int, size: int, unit: str, smaller: str) -> str:
    whole, rest = divmod(count, size)
    return f"{whole} {unit} {rest} {smaller}" if rest else f"{whole} {unit}"


def _validation_billed(price: Price, valid: Range, validations: int) -> Range:
    fewest = {"each": validations, "once": min(validations, 1), "unknown": 0}[price.validation]
    most = min(validations, 1) if price.validation == "once" else validations
    return valid.times(fewest, most)


def _hosted(price: Price, billed: Range) -> Offer:
    return Offer(
        service=price.service,
        model=price.model,
        tokens_billed=billed,
        usd=billed.times(price.low / 1e6, price.high / 1e6),
        seconds=None,
        likely_seconds=None,
        source=price.source,
        date=price.date,
        verified=price.verified,
        note=price.note,
    )


def _local(machine: MachineSpeed, trained: Range, validated: Range) -> Offer:
    work = trained + validated.times(_FORWARD_SHARE, 1)
    speed = machine.tokens_per_second
    return Offer(
        service=LOCAL,
        model=None,
        tokens_billed=Range.exactly(0),
        usd=Range.exactly(0),
        seconds=work.times(1 / (speed * SPEED_SPREAD), SPEED_SPREAD / speed),
        likely_seconds=work.high / speed,
        source=machine.basis,
        date=None,
        verified=False,
        note="Electricity is not counted.",
    )
