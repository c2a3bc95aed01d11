"""A comparison of runs as one HTML file that needs nothing else, and as a fragment for a notebook."""

from __future__ import annotations

from fewtune.report import html, page_script, predictions, runs_tables
from fewtune.report.first_screen import verdict_parts
from fewtune.report.runs_comparison import RunsComparison
from fewtune.report.summary import Summary


def render(found: RunsComparison, summaries: tuple[Summary, ...]) -> str:
    """The whole page; every text of the runs is escaped, and the page forbids itself to load anything."""
    answer, reason, details = verdict_parts(runs_tables.conclusion(found, summaries))
    side_by_side = runs_tables.side_by_side(found, summaries)
    scripts = [page_script.script("predictions.js")]
    return (
        html.environment()
        .get_template("runs_page.html.j2")
        .render(
            found=found,
            answer=answer,
            reason=reason,
            details=details,
            table=runs_tables.runs_table(found, summaries),
            predictions=side_by_side,
            prediction_data=page_script.embedded(predictions.document(side_by_side)),
            scripts=scripts,
            policy=page_script.policy(scripts),
            shown_predictions=html.SHOWN_PREDICTIONS,
        )
    )


def fragment(found: RunsComparison, summaries: tuple[Summary, ...]) -> str:
    """Conclusion and table; colours and letters are the notebook's own."""
    return (
        html.environment()
        .get_template("runs_notebook.html.j2")
        .render(
            found=found,
            conclusion=runs_tables.conclusion(found, summaries),
            table=runs_tables.runs_table(found, summaries),
        )
    )
