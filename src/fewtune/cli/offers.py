"""Tables of prices and offers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from fewtune.cli.show import print_json
from fewtune.cost.estimate import Offer, Range
from fewtune.cost.prices import Price
from fewtune.experiment.display import between, dollars, duration, epochs_in_all, estimate_line
from fewtune.experiment.estimating import Estimate


def show_estimate(found: Estimate, as_json: bool) -> None:
    if as_json:
        print_json(_document(found))
        return
    console = Console(highlight=False, markup=False)
    if found.searched:
        console.print(f"The search on the cheap base: {estimate_line(found.searched, services=False)}. Its plans then:")
    per_epoch = _tokens(found.tokens.train_per_epoch)
    console.print(f"{per_epoch} training tokens an epoch, {epochs_in_all(found)} in all.")
    table = Table(box=None, pad_edge=False)
    for heading in ("where", "model", "dollars", "time", "price read"):
        table.add_column(heading, overflow="fold")
    for offer in found.offers:
        table.add_row(*_cells(offer))
    console.print(table)
    console.print("* not verified on the service's own page. Each service bills by its own count of tokens.")
    sources = dict.fromkeys((offer.service, offer.source) for offer in found.offers)
    for service, source in sources:
        console.print(f"{service}: {source}", soft_wrap=True, style="dim")


def _cells(offer: Offer) -> tuple[str, ...]:
    read = "" if offer.date is None else f"{offer.date}{'' if offer.verified else ' *'}"
    return offer.service, offer.model or "", between(offer.usd, dollars), duration(offer), read


def _tokens(found: Range) -> str:
    return between(found, lambda count: f"{count:,.0f}")


def _document(found: Estimate) -> dict[str, Any]:
    """Schema version 1; ranges have `low` and `high`."""
    offers = [{**asdict(one), "date": str(one.date) if one.date else None} for one in found.offers]
    return {
        "schema_version": 1,
        "epochs": found.epochs_total,
        "epochs_fewest": found.epochs_fewest,
        "tokens": asdict(found.tokens),
        "offers": offers,
        "searched": _document(found.searched) if found.searched else None,
    }


def show_prices(prices: Sequence[Price], as_json: bool) -> None:
    if as_json:
        listed = [
            {**asdict(one), "date": str(one.date), "last_day": str(one.last_day) if one.last_day else None}
            for one in prices
        ]
        print_json({"schema_version": 1, "prices": listed})
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("service", "model", "what", "dollars", "read"):
        table.add_column(heading, overflow="fold")
    for one in prices:
        price = between(Range(low=one.low, high=one.high), lambda usd: f"{usd:g}")
        table.add_row(one.service, one.model, one.what, price, f"{one.date}{'' if one.verified else ' *'}")
    console = Console(highlight=False, markup=False)
    console.print(table)
    console.print("Dollars for a million tokens, hosting for an hour. * not verified on the service's own page.")
    for service, source in dict.fromkeys((one.service, one.source) for one in prices):
        console.print(f"{service}: {source}", soft_wrap=True, style="dim")
