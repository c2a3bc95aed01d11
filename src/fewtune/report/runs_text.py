"""A comparison of runs in the terminal."""

from __future__ import annotations

from rich.console import Console

from fewtune.report import runs_tables, words
from fewtune.report.runs_comparison import RunsComparison
from fewtune.report.summary import Summary
from fewtune.report.text import cell_text, plain, table_of


def render_runs(found: RunsComparison, summaries: tuple[Summary, ...], console: Console) -> None:
    """Print it; texts of the runs are printed as they are, never as markup, without their control characters."""
    console.print(plain(runs_tables.conclusion(found, summaries), "bold"))
    for note in found.notes:
        console.print(plain(note, "yellow"))
    console.print()
    _table(found, summaries, console)
    console.print()
    for run in found.runs:
        console.print(plain(f"{run.id}: ", "bold").append_text(plain(run.verdict, "not bold")))
    _settings(found, console)


def _table(found: RunsComparison, summaries: tuple[Summary, ...], console: Console) -> None:
    shown = runs_tables.runs_table(found, summaries)
    table = table_of(gap=1)
    for name in ("", *(f"{metric.label}\n{metric.direction}" for metric in shown.metrics), "time and cost"):
        table.add_column(plain(name), overflow="fold")
    for row in shown.rows:
        table.add_row(plain(row.title), *(cell_text(cell) for cell in row.cells), plain(row.cost))
    console.print(table)
    console.print(plain("Under each number: its 95 % interval, and what the run is against the first one.", "dim"))


def _settings(found: RunsComparison, console: Console) -> None:
    if not found.settings:
        return
    console.print()
    table = table_of(gap=2)
    for name in ("different", *(run.id for run in found.runs)):
        table.add_column(plain(name), overflow="fold")
    for line in found.settings:
        table.add_row(plain(words.heading(line.name), "dim"), *(plain(value) for value in line.values))
    console.print(table)
