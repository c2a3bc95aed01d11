"""The report as a fragment of HTML, for the cell of a notebook."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from fewtune.report import html, predictions, tables
from fewtune.report.summary import Summary

SHOWN_PREDICTIONS = 5


def summary_html(summary: Summary) -> str:
    """Verdict, price, systems, first answers, sweep and a link; colours and letters are the notebook's own."""
    found = predictions.predictions(summary)
    return (
        html.environment()
        .get_template("notebook.html.j2")
        .render(
            summary=summary,
            comparison=next(iter(tables.comparisons(summary)), None),
            predictions=found,
            shown_predictions=SHOWN_PREDICTIONS,
            sweep=tables.sweep(summary),
            link=_link(summary.files.get("report")),
        )
    )


def _link(path: str | None) -> str | None:
    """A path as an address that can be nothing but a path."""
    if path is None:
        return None
    clean = path.encode("utf-8", "replace").decode()
    return Path(clean).as_uri() if Path(clean).is_absolute() else quote(clean)
