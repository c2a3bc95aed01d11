"""The report as a fragment of HTML, for the cell of a notebook."""

from __future__ import annotations

from html import escape
from pathlib import Path
from urllib.parse import quote

from fewtune.report import html, predictions, tables, words
from fewtune.report.summary import Summary, TrialLine

_PLAN = ("epochs", "batch_size", "learning_rate", "rank", "prompt_loss_weight", "adapt_top")
"""What is searched; the rest of a plan is in the report."""

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


def trial_html(trial: TrialLine) -> str:
    """A plan, with what was measured of it."""
    measured = {
        "validation loss": None if trial.valid_loss is None else words.loss(trial.valid_loss),
        "trained for": words.duration(trial.seconds),
        "cost": words.dollars(trial.usd),
        "failure": trial.failure,
    }
    plan = {words.heading(name): words.setting(value) for name, value in trial.plan.items() if name in _PLAN}
    rows = {"trial": trial.id, **plan, **{name: told for name, told in measured.items() if told is not None}}
    left = 'style="text-align: left"'
    cells = (
        f"<tr><th {left}>{escape(name)}</th><td {left}>{escape(words.printable(told))}</td></tr>"
        for name, told in rows.items()
    )
    return f"<table><tbody>{''.join(cells)}</tbody></table>"


def _link(path: str | None) -> str | None:
    """A path as an address that can be nothing but a path."""
    if path is None:
        return None
    clean = path.encode("utf-8", "replace").decode()
    return Path(clean).as_uri() if Path(clean).is_absolute() else quote(clean)
