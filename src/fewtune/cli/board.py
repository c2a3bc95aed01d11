"""A run on its way as the lines of a terminal: stages, how far it is, and the trials with their curves."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from fewtune.experiment.progress import Answering, Training
from fewtune.experiment.standing import Part, Standing, apart
from fewtune.report.sparkline import loss_range, sparkline
from fewtune.report.words import counted, printable

MOST_TRIALS = 12
_NARROW, _WIDE = 60, 78
"""Columns of a terminal below which the table says less, and from which it says all."""
_MARK_STYLES = {"✓": "green", "✗": "red", "▸": "bold"}
_STATE_STYLES = {"training": "bold", "failed": "red", "dropped": "dim", "resting": "dim", "done": "green"}


def board(standing: Standing, width: int, height: int) -> RenderableType:
    """All of it, at most as high and wide as the terminal is."""
    parts: list[RenderableType] = [_part(part) for part in standing.parts]
    if standing.share is not None:
        parts.append(_bar(standing.share, width))
        parts.append(Text(f"  {printable(standing.detail)}", style="dim", no_wrap=True, overflow="ellipsis"))
    if isinstance(standing.last, Answering) and standing.line:
        parts.append(Text(f"  {printable(standing.line)}", style="dim", no_wrap=True, overflow="ellipsis"))
    if isinstance(standing.last, Training):
        rows = min(MOST_TRIALS, height - len(parts) - 6)
        if rows > 0:
            parts += [Text(), *_trials(standing, width, rows)]
    return Group(*parts)


def _part(part: Part) -> Text:
    mark = Text(f"{part.mark} ", style=_MARK_STYLES.get(part.mark, ""))
    text = Text(printable(part.line), style="" if part.seconds is None else "dim")
    return Text.assemble(mark, text, no_wrap=True, overflow="ellipsis")


def _bar(share: float, width: int) -> RenderableType:
    line = Table.grid(padding=(0, 1))
    line.add_row(" ", ProgressBar(total=1.0, completed=share, width=min(40, max(10, width - 12))), f"{share:.0%}")
    return line


def _trials(standing: Standing, width: int, rows: int) -> list[RenderableType]:
    """The best ones, and those that are being trained; how many more there are."""
    trials = list(standing.trials.values())
    labels = dict(zip(standing.trials, apart([one.label for one in trials]), strict=True))
    shown = standing.chosen(rows)
    low, high = loss_range(one.train for one in trials)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), collapse_padding=True)
    for name, right in _columns(width):
        table.add_column(name, justify="right" if right else "left", no_wrap=True, overflow="ellipsis")
    for one in shown:
        is_best, state = one is standing.best, one.state(standing.clock())
        curve = sparkline(one.train, one.epochs, low, high, 8 if width < _NARROW else 16)
        epoch, loss, valid = one.numbers
        named = {
            "": Text("★" if is_best else " "),
            "trial": Text(one.id),
            "plan": Text(printable(labels[one.id])),
            "state": Text(state, style=_STATE_STYLES[state]),
            "epoch": Text(epoch),
            "loss": Text(loss),
            "valid": Text(valid),
            "curve": Text(curve),
        }
        table.add_row(*(named[name] for name, _ in _columns(width)), style="bold" if is_best else "")
    left = len(trials) - len(shown)
    return [table, *([Text(f"  and {counted(left, 'more', 'more')}", style="dim")] if left else [])]


def _columns(width: int) -> Sequence[tuple[str, bool]]:
    """Names, and whether they are numbers."""
    if width < _NARROW:
        return (("", False), ("trial", False), ("epoch", True), ("valid", True), ("curve", False))
    first = (("", False), ("trial", False), ("plan", False))
    numbers = (("epoch", True), ("loss", True), ("valid", True), ("curve", False))
    return (*first, ("state", False), *numbers) if width >= _WIDE else (*first, *numbers)
