"""The report as one HTML file that needs nothing else: no network, no font, no other file."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import jinja2
from markupsafe import Markup

from fewtune.report import (
    evaluation_tables,
    first_screen,
    metrics,
    page_script,
    predictions,
    snippets,
    tables,
    words,
)
from fewtune.report.summary import Summary
from fewtune.report.whole_file import write_whole
from fewtune.report.word_changes import word_changes

SHOWN_PREDICTIONS = 12
"""Those that stand in the page itself; a script shows all."""
SHOWN_ROWS = 6
_SCRIPTS = ("predictions.js", "page.js")


def render(summary: Summary) -> str:
    """The whole page. Every text of the run is escaped, and the page forbids itself to load or run anything else."""
    # Only here: what draws takes most of a second to import, and the training comes first.
    from fewtune.report import pictures, views

    found = predictions.predictions(summary)
    scripts = [page_script.script(name) for name in _SCRIPTS]
    return (
        environment()
        .get_template("page.html.j2")
        .render(
            summary=summary,
            top=first_screen.first_screen(summary),
            day=_day(summary.created),
            comparisons=tables.comparisons(summary),
            metric_count=len(metrics.in_order(summary)),
            more=evaluation_tables.has_more(summary),
            sweep=tables.sweep(summary),
            predictions=found,
            prediction_data=page_script.embedded(predictions.document(found)),
            charts=pictures.pictures(summary),
            views=views.views(summary, pictures.WIDE, pictures.NARROW),
            snippets=snippets.use(summary),
            lock=snippets.lock(summary),
            scripts=scripts,
            policy=page_script.policy(scripts),
            shown_predictions=SHOWN_PREDICTIONS,
        )
    )


def write(summary: Summary, path: Path) -> None:
    """Put the page at `path`, whole or not at all: a reader never sees half of it, nor does a crash leave one.

    Raises UnfinishedError when the disk is full, UsageError when the path cannot be written.
    """
    write_page(render(summary), path)


def write_page(page: str, path: Path) -> None:
    """The same for a page that is there already."""
    write_whole(page.encode("utf-8", "replace"), path, "write the report")


def environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("fewtune.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )
    shown: dict[str, Any] = {
        "words": words,
        "tables": tables,
        "evaluation_tables": evaluation_tables,
        "fold": words.fold,
        "css": _css_name,
        "word_changes": word_changes,
        "unbroken": _unbroken,
        "SHOWN_ROWS": SHOWN_ROWS,
    }
    cast("dict[str, Any]", made.globals).update(shown)
    return made


def _finalize(value: Any) -> Any:
    return words.printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _unbroken(text: str) -> Markup:
    """Words with a hyphen, such as `ROUGE-L`, kept on one line."""
    parts = re.split(r"(\w+(?:-\w+)+)", words.printable(text))
    kept = Markup('<span style="white-space: nowrap">{}</span>')
    return Markup("").join(kept.format(part) if place % 2 else part for place, part in enumerate(parts))


def _day(created: str) -> str:
    """`22 November 2026, 18:07 UTC`; a time that is not ISO 8601 is shown as it is."""
    try:
        moment = datetime.fromisoformat(created)
    except ValueError:
        return created
    moment = moment.astimezone(UTC) if moment.tzinfo else moment
    return f"{moment.day} {moment:%B %Y, %H:%M} UTC"


def _css_name(system: str) -> str:
    return system if system in ("base", "few-shot", "tuned") else "other"
