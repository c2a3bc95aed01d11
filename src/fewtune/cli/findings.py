"""What `prepare` found and wrote, for people and for programs; and its questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fewtune.cli.show import print_json
from fewtune.data.checks.finding import Finding
from fewtune.experiment.data_reporting import data_part
from fewtune.experiment.preparation import Prepared
from fewtune.experiment.prepared_folder import document
from fewtune.report import tables
from fewtune.report.data_part import DataPart, FindingLine, MaskLine
from fewtune.report.words import printable
from fewtune.types import Example

_SHOWN_ROWS = 6
_QUESTIONS = {
    "drop": "Drop",
    "strip": "Remove the white space around the texts of",
    "relabel": "Give the usual label to",
    "mask": "Mask it in",
    "unescape": "Write the entities as characters in",
    "mend": "Mend the characters in",
}
_STYLES = {"error": "red", "warning": "yellow"}


def show_prepared(prepared: Prepared, paths: Mapping[str, Path], as_json: bool) -> None:
    part = data_part(prepared)
    if as_json:
        splits = {name: len(getattr(prepared.split, name)) for name in ("train", "valid", "test")}
        files = {name: str(path) for name, path in paths.items()}
        print_json(document(part) | {"splits": splits, "files": files})
        return
    console = Console(highlight=False, markup=False)
    _say(console, f"Read as {part.shape}.", *part.notes)
    if part.findings:
        console.print(_table(part))
    _say(console, tables.rows_sum(part))
    _show_mask(console, part)
    for name in ("train", "valid", "test"):
        console.print(f"{len(getattr(prepared.split, name)):>6} rows  {paths[name]}", soft_wrap=True)
    console.print(f"Every change, before and after: {paths['repairs']}", soft_wrap=True)
    console.print(f"Report: {paths['data_page']}", soft_wrap=True)


def ask(finding: Finding, examples: Sequence[Example]) -> bool:
    """Show a finding with its first rows and ask whether to make its repair; Enter takes what is recommended."""
    console = Console(highlight=False, markup=False, stderr=True)
    console.print(Text(f"{finding.code}: ", style="bold").append(printable(finding.sentence), style="not bold"))
    for row in finding.rows[:_SHOWN_ROWS]:
        console.print(f"  {examples[row].source}", style="dim", soft_wrap=True)
    if len(finding.rows) > _SHOWN_ROWS:
        console.print(f"  and {len(finding.rows) - _SHOWN_ROWS:,} more", style="dim")
    rows = "this row" if len(finding.rows) == 1 else "these rows"
    asked = f"{_QUESTIONS[finding.repair]} {rows}?" if finding.repair else ""
    return typer.confirm(asked, default=finding.recommended, err=True)


def _say(console: Console, *sentences: str) -> None:
    for sentence in sentences:
        console.print(printable(sentence), soft_wrap=True)


def _table(part: DataPart) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("finding", "rows", "what", "repair"):
        table.add_column(heading, overflow="fold")
    for line in part.findings:
        code = Text(line.code, style=_STYLES.get(line.severity, ""))
        table.add_row(code, f"{line.count:,}" if line.count else "", f"{line.sentence}{_places(line)}", _repair(line))
    return table


def _repair(line: FindingLine) -> str:
    if line.repair or not line.proposal:
        return line.repair or ""
    return f"none; could be {line.proposal}"


def _places(line: FindingLine) -> str:
    """` Lines 12, 40, ….`, or nothing for a finding about the data as a whole."""
    if not line.rows:
        return ""
    numbers = ", ".join(row.rpartition(":")[2] for row in line.rows[:_SHOWN_ROWS])
    more = ", …" if line.count > _SHOWN_ROWS else ""
    return f" Line{'' if line.count == 1 else 's'} {numbers}{more}."


def _show_mask(console: Console, part: DataPart) -> None:
    """The first training row, with what is learnt of it in colour and between brackets."""
    if not part.mask:
        return
    line = part.mask[0]
    console.print(f"What is learnt of {line.source}, {line.trained_tokens} of {line.tokens} tokens:", soft_wrap=True)
    console.print(_marked(line), soft_wrap=True)
    if lost := tables.not_learnt(part):
        _say(console, lost)


def _marked(line: MaskLine) -> Text:
    text = Text("  ")
    for number, piece in enumerate(line.pieces):
        before = number > 0 and line.pieces[number - 1].trained
        if piece.trained and not before:
            text.append("[", style="dim")
        style = "bold cyan" if piece.stop else "cyan" if piece.trained else "dim"
        text.append(printable(piece.text), style=style)
        if piece.trained and (number + 1 == len(line.pieces) or not line.pieces[number + 1].trained):
            text.append("]", style="dim")
    return text
