"""The report in the terminal: the answer first, then what it rests on."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fewtune.report import evaluation_tables, metrics, tables, words
from fewtune.report.reservation import reservation
from fewtune.report.summary import Summary, TrialLine
from fewtune.report.tables import Cell

SHOWN_TRIALS = 5
_VERDICT_STYLES = {"better": "bold green", "worse": "bold red"}
_MARK_STYLES = {"chosen": "bold", "failed": "red"}
_SEVERITY_STYLES = {"error": "red", "warning": "yellow"}


def render_text(summary: Summary, console: Console) -> None:
    """Print the run to the console, whose width and colours are respected; 80 columns are enough.

    Texts of the run are printed as they are, never as markup, without their control characters.
    """
    console.print(plain(summary.verdict, "bold"))
    if reserved := reservation(summary):
        console.print(plain(reserved))
    console.print(plain(_circumstances(summary), "dim"))
    for part in (_systems, _sweep, _data, _sample, _where):
        console.print()
        part(summary, console)


def plain(text: str, style: str = "") -> Text:
    return Text(words.printable(text), style=style)


def _circumstances(summary: Summary) -> str:
    state = "" if summary.state == "finished" else f"{summary.state}, "
    place = words.place(summary.provider)
    return f"{summary.id}: {state}{words.duration(summary.seconds)}, {words.dollars(summary.usd)}, {place}"


def table_of(*, header: bool = True, gap: int = 2) -> Table:
    """With a header its columns are parted by a blank of the box; `gap` counts it."""
    if header:
        return Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, gap - 1, 0, 0))
    return Table(box=None, show_header=False, pad_edge=False, padding=(0, gap, 0, 0))


def _systems(summary: Summary, console: Console) -> None:
    parts = tables.comparisons(summary)
    if not parts:
        for line in tables.worth_lines(summary):
            console.print(plain(line))
        return
    found = parts[0]
    for row in found.rows:
        console.print(plain(f"{row.title}: ", "bold").append_text(plain(row.meaning, "not bold dim")))
    console.print()
    table = table_of(gap=1)
    for name in ("", *(f"{metric.label}\n{metric.direction}" for metric in found.metrics)):
        table.add_column(plain(name), overflow="fold")
    for row in found.rows:
        table.add_row(plain(row.title), *(cell_text(cell) for cell in row.cells))
    console.print(table)
    rows = words.counted(summary.systems[0].rows, "row")
    said = (
        f"On {rows} kept out of the training. Under each number: its 95 % interval, and what the tuned model is against"
    )
    console.print(plain(f"{said} it. What chance could explain is called tied.", "dim"))
    primary = metrics.primary(summary)
    if primary and primary.meaning:
        console.print(plain(f"{primary.label}: {primary.meaning}.", "dim"))
    others = len(metrics.in_order(summary)) - len(found.metrics)
    if others:
        console.print(plain(f"The report has {words.counted(others, 'metric')} more.", "dim"))
    for line in evaluation_tables.lines(summary):
        console.print(plain(line))


def cell_text(cell: Cell | None) -> Text:
    if cell is None:
        return plain("–", "dim")
    shown = plain(cell.value).append_text(plain(f"\n{cell.interval.replace(' to ', '–')}", "dim"))
    if cell.against:
        verdict = cell.against.verdict
        shown.append_text(plain(f"\n{verdict}", _VERDICT_STYLES.get(verdict, "bold dim")))
        shown.append_text(plain(f" {cell.against.value}", "dim"))
    return shown


def _sweep(summary: Summary, console: Console) -> None:
    found = tables.sweep(summary)
    if not found.rows:
        console.print("Nothing was trained.")
        return
    table = table_of()
    by_right = tables.chosen_by_right(summary)
    right = ("exact match",) * by_right
    for name in ("", *(words.heading(field) for field in found.fields), *right, "validation loss", "time", "cost"):
        table.add_column(plain(name), overflow="fold")
    for row in (row for place, row in enumerate(found.rows) if place < SHOWN_TRIALS or row.mark == "chosen"):
        loss = row.trial.valid_loss
        cells = (
            *row.plan,
            *(_right(row.trial),) * by_right,
            "–" if loss is None else words.loss(loss),
            words.duration(row.trial.seconds),
        )
        cost = words.dollars(row.trial.usd)
        style = _MARK_STYLES.get(row.mark, "")
        table.add_row(plain(row.mark), *(plain(cell) for cell in (*cells, cost)), style=style)
    console.print(table)
    if len(found.rows) > SHOWN_TRIALS:
        console.print(plain(f"The best {SHOWN_TRIALS} of {len(found.rows)} trials.", "dim"))
    for line in tables.search_lines(summary):
        console.print(plain(line, "dim"))
    for row in found.rows:
        if row.trial.failure:
            console.print(plain(f"Trial {row.trial.id} failed: {row.trial.failure}", "red"))


def _right(trial: TrialLine) -> str:
    return "–" if trial.valid_sequence_accuracy is None else words.share(trial.valid_sequence_accuracy)


def _data(summary: Summary, console: Console) -> None:
    console.print(plain(f"{summary.data.file}: {tables.rows_sum(summary.data)}"))
    if not summary.data.findings:
        return
    table = table_of(header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in summary.data.findings:
        places = ", ".join(finding.rows[:3]) + (", …" if len(finding.rows) > 3 else "")
        done = finding.repair or ("Left as they are." if finding.count else "")
        said = plain(f"{finding.sentence} {done}").append_text(plain(f"\n{places}", "dim"))
        table.add_row(plain(finding.severity, _SEVERITY_STYLES.get(finding.severity, "dim")), said)
    console.print(table)


def _sample(summary: Summary, console: Console) -> None:
    if not summary.predictions:
        console.print("No held-out prompt was answered.")
        return
    line = summary.predictions[0]
    table = table_of(header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    answers = ((name, answer, "") for name, answer in line.answers.items())
    for name, text, style in (("prompt", line.prompt, "bold"), ("expected", line.expected, ""), *answers):
        table.add_row(plain(words.system(name), "dim"), plain(words.one_line(text, 240) or "(empty)", style))
    console.print(table)


def _where(summary: Summary, console: Console) -> None:
    if "report" in summary.files:
        console.print(plain(f"Report: {summary.files['report']}"), soft_wrap=True)
    console.print(plain(f"Again:  {summary.command}"), soft_wrap=True)
