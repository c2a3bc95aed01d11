"""What was prepared, estimated, listed and exported as fragments of HTML, for the cell of a notebook.

They bring no colours and no letters, which are the notebook's own; every text of the user is escaped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from fewtune.cost.estimate import Offer, Range, spoken_duration
from fewtune.data.checks.finding import Finding
from fewtune.report import words
from fewtune.report.words import count, counted, heading, printable, repaired
from fewtune.store.runs import RunRecord

if TYPE_CHECKING:
    from fewtune.experiment.estimating import Estimate
    from fewtune.experiment.exporting import Export
    from fewtune.experiment.preparation import Prepared

_SHOWN_LINES = 6
_SHOWN_OFFERS = 5


def prepared_html(prepared: Prepared) -> str:
    """Findings with what was done about them, what became of the rows, and the three parts."""
    findings = _table(("finding", "rows", "what", "repair"), (_finding(prepared, one) for one in prepared.findings))
    nothing = f"<p>{count(len(prepared.examples))} rows were checked and nothing was found.</p>"
    parts = (("train", "fitted on"), ("valid", "chosen with"), ("test", "judged by"))
    rows = ((_bold(name), _right(count(len(getattr(prepared.split, name)))), _text(use)) for name, use in parts)
    return (
        f"<p>{_bold(prepared.dataset.name)}: {_text(rows_sum(prepared))}</p>"
        f"{findings if prepared.findings else nothing}{_table(('part', 'rows', 'use'), rows)}"
    )


def rows_sum(prepared: Prepared) -> str:
    return words.rows_sum(len(prepared.examples), len(prepared.kept), prepared.repaired.dropped)


def _finding(prepared: Prepared, finding: Finding) -> tuple[str, ...]:
    lines = {example.row: example.source.line for example in prepared.examples}
    places = ", ".join(str(lines[row]) for row in finding.rows[:_SHOWN_LINES])
    more = ", …" if len(finding.rows) > _SHOWN_LINES else ""
    where = f" Line{'s' if len(finding.rows) > 1 else ''} {places}{more}." if finding.rows else ""
    done = Counter(change.code for change in prepared.changes)[finding.code]
    repair = f"{count(done)} {repaired(finding.repair)}" if finding.repair and done else "none"
    return (
        _short(_bold(heading(finding.code))),
        _right(count(len(finding.rows)) if finding.rows else ""),
        _text(f"{finding.sentence}{where}"),
        _short(_text(repair)),
    )


def estimate_html(found: Estimate) -> str:
    """Tokens, and each place to train with dollars, time and where the price comes from; the dearer ones folded."""
    headings = ("where", "model", "dollars", "time", "price read", "source")
    first, rest = found.offers[:_SHOWN_OFFERS], found.offers[_SHOWN_OFFERS:]
    folded = f"<details><summary>{count(len(rest))} more</summary>{_table(headings, map(_offer, rest))}</details>"
    tokens = between(found.tokens.train_per_epoch, lambda number: count(round(number)))
    return (
        f"<p>{_text(tokens)} training tokens an epoch, {epochs_in_all(found)} in all.</p>"
        f"{_table(headings, map(_offer, first))}{folded if rest else ''}"
        "<p><small>* not verified on the service's own page. Services bill by their own count of tokens, "
        "and serving a tuned model costs extra.</small></p>"
    )


class RunList(list[RunRecord]):
    """Runs, which a notebook shows as a table."""

    def _repr_html_(self) -> str:
        rows = (
            (
                _short(_bold(one.id)),
                _text(one.state),
                _short(_text(one.created_at[:16].replace("T", " "))),
                _came_to(one),
            )
            for one in self
        )
        return _table(("run", "state", "began (UTC)", "verdict"), rows) if self else "<p>No runs yet.</p>"


def _came_to(record: RunRecord) -> str:
    return _text(str(record.summary["verdict"]) if record.summary else record.error or "")


def export_html(done: Export) -> str:
    """Where the model is, and that it answers as the trained one does."""
    rows = (
        ("format", _text(done.format)),
        ("folder", _text(str(done.folder))),
        ("files", _text(", ".join(done.files))),
        ("checked on", _text(counted(done.rows, "held-out row"))),
    )
    return _table(("export", ""), ((_bold(name), told) for name, told in rows))


def epochs_in_all(found: Estimate) -> str:
    """`27 to 41 epochs`, or `6 epochs`."""
    most = counted(found.epochs_total, "epoch")
    return most if found.epochs_fewest == found.epochs_total else f"{found.epochs_fewest} to {most}"


def estimate_line(found: Estimate, *, services: bool = True) -> str:
    """`6 epochs, on this machine about 43 s (26 s to 1 min 5 s), 14 prices of services`"""
    time = f", on this machine {duration(found.here)}" if found.here and found.here.seconds else ""
    known = sum(offer.date is not None for offer in found.offers)
    return f"{epochs_in_all(found)}{time}" + (f", {counted(known, 'price')} of services" if services else "")


def duration(offer: Offer) -> str:
    """`about 43 s (26 s to 1 min 5 s)`"""
    if offer.seconds is None:
        return "not told"
    ends = between(offer.seconds, spoken_duration)
    return ends if offer.likely_seconds is None else f"about {spoken_duration(offer.likely_seconds)} ({ends})"


def _offer(offer: Offer) -> tuple[str, ...]:
    read = "" if offer.date is None else f"{offer.date}{'' if offer.verified else ' *'}"
    return (
        _short(_bold(offer.service)),
        _text(offer.model or ""),
        _text(between(offer.usd, dollars)),
        _text(duration(offer)),
        _short(_text(read)),
        _source(offer.source),
    )


def between(found: Range, spoken: Callable[[float], str]) -> str:
    """`low to high`, or the one where they are spoken alike."""
    low, high = spoken(found.low), spoken(found.high)
    return low if low == high else f"{low} to {high}"


def dollars(usd: float) -> str:
    if usd == 0:
        return "$0"
    return "under $0.01" if usd < 0.01 else f"${usd:,.2f}"


def _source(source: str) -> str:
    """An address becomes a link under the name of its site."""
    if not source.startswith("https://"):
        return _text(source)
    site = source.removeprefix("https://").partition("/")[0]
    return f'<a href="{escape(source)}" rel="noreferrer">{_text(site)}</a>'


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Of cells that are HTML already."""
    head = "".join(_cell("th", name) for name in headings)
    body = "".join(f"<tr>{''.join(_cell('td', cell) for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(kind: str, content: str) -> str:
    return f'<{kind} style="text-align: left; vertical-align: top">{content}</{kind}>'


def _right(text: str) -> str:
    return f'<div style="text-align: right">{_text(text)}</div>'


def _short(content: str) -> str:
    return f'<span style="white-space: nowrap">{content}</span>'


def _bold(text: str) -> str:
    return f"<strong>{_text(text)}</strong>"


def _text(text: str) -> str:
    return escape(printable(text))
