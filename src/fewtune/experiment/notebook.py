"""A run shown in the cell of a notebook, in place: its stages, how far it is, the learning curves so far.

IPython is used where a kernel has loaded it and is never imported otherwise.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import escape
from typing import Any

from fewtune.experiment.progress import Failed, Note, Progress, Stage, Training, Watch, unwatched
from fewtune.experiment.standing import Followed, Standing, apart
from fewtune.report.live import LiveCurve, live_curves
from fewtune.report.words import printable

_SECONDS_BETWEEN_PICTURES = 1.5
_MOST_TIME_DRAWING = 0.05
"""Share of a run's time that may go into its pictures: a small machine trains rather than draws."""
_SHOWN_NOTES = 5
_SHOWN_TRIALS = 8

Display = Callable[[str, str], None]
"""Shows HTML, with plain text for those who cannot show it, in place of what it showed before."""


@contextmanager
def watched(watch: Watch | None) -> Generator[Watch]:
    """The given watcher; without one, a notebook shows the run in its cell and everything else does not."""
    if watch is not None or not in_notebook():
        yield watch or unwatched
        return
    shown = watch_in_notebook()
    try:
        yield shown
    except BaseException:
        shown.end(finished=False)
        raise
    shown.end(finished=True)


def in_notebook() -> bool:
    """Whether the code runs in an IPython kernel, as in Jupyter, Colab or VS Code; a terminal's IPython has none."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return getattr(shell, "kernel", None) is not None


@dataclass(kw_only=True)
class NotebookWatch:
    """A Watch that shows what it is told."""

    display: Display
    clock: Callable[[], float]
    standing: Standing
    notes: list[str] = field(default_factory=list[str])
    rest_until: float = float("-inf")

    def __call__(self, event: Progress) -> None:
        self.standing.add(event)
        if isinstance(event, Note | Failed):
            self.notes.append(event.text)
        self._show(now=isinstance(event, Stage))

    def end(self, *, finished: bool) -> None:
        """Show the run as it was left."""
        self.standing.close("✓" if finished else "✗")
        self._show(now=True)

    def _show(self, *, now: bool) -> None:
        began = self.clock()
        if not now and began < self.rest_until:
            return
        self.display(_html(self), _text(self))
        ended = self.clock()
        self.rest_until = ended + max(_SECONDS_BETWEEN_PICTURES, (ended - began) / _MOST_TIME_DRAWING)


def watch_in_notebook(display: Display | None = None, clock: Callable[[], float] = time.monotonic) -> NotebookWatch:
    """A watcher that shows a run in one output of the current cell, renewed in place; `clock` tells seconds.

    Only HTML is shown, no widget, so that it works wherever notebooks do and stays in the saved file.
    """
    return NotebookWatch(display=display or _CellOutput(), clock=clock, standing=Standing(clock=clock))


@dataclass
class _CellOutput:
    handle: Any = None

    def __call__(self, html: str, text: str) -> None:
        from IPython.display import display  # pyright: ignore[reportUnknownVariableType]

        shown = {"text/html": html, "text/plain": text}
        if self.handle is None:
            self.handle = display(shown, raw=True, display_id=True)
        else:
            self.handle.update(shown, raw=True)


def _detail(standing: Standing) -> str:
    told = [f"{standing.last.done:.0%}"] if isinstance(standing.last, Training) else []
    return " · ".join(filter(None, [*told, standing.detail]))


def _text(watch: NotebookWatch) -> str:
    standing = watch.standing
    best = standing.line if isinstance(standing.last, Training) else ""
    lines = [f"{part.mark} {part.line}" for part in standing.parts]
    told = [" · ".join(filter(None, (_detail(standing), best)))]
    return printable("\n".join([*lines, *filter(None, told), *watch.notes[-_SHOWN_NOTES:]]))


_STYLE = """
.fewtune-live { max-width: 46em; --ink: currentColor; --paper: transparent;
  --dim: color-mix(in srgb, currentColor 70%, transparent); --rule: color-mix(in srgb, currentColor 16%, transparent) }
.fewtune-live p { margin: 0.15em 0 }
.fewtune-live table { margin-top: 0.6em; border-collapse: collapse; font-variant-numeric: tabular-nums }
.fewtune-live th, .fewtune-live td { text-align: left; padding: 0.1em 1.2em 0.1em 0 }
.fewtune-live .best { font-weight: bold }
.fewtune-live svg { display: block; margin-top: 0.8em }
[data-jp-theme-light="false"] .fewtune-live, .vscode-dark .fewtune-live, [theme="dark"] .fewtune-live {
  --series-1: #62b3f0; --series-2: #f0955a; --series-3: #45c49b; --series-4: #d98bc6; --series-5: #d2b24c }
"""
"""The letters are the notebook's own colour, on whatever ground it has; the dark themes of Jupyter, VS Code and
Colab, in this order, get lighter curves."""


def _html(watch: NotebookWatch) -> str:
    parts = "".join(f"<p>{part.mark} {_escaped(part.line)}</p>" for part in watch.standing.parts)
    detail = f"<p><small>{_escaped(told)}</small></p>" if (told := _detail(watch.standing)) else ""
    notes = "".join(f"<p><small>{_escaped(note)}</small></p>" for note in watch.notes[-_SHOWN_NOTES:])
    shown = f"{parts}{_bar(watch.standing.share)}{detail}{notes}{_curves(watch.standing)}{_trials(watch.standing)}"
    return f'<div class="fewtune-live"><style>{_STYLE}</style>{shown}</div>'


def _curves(standing: Standing) -> str:
    trials = standing.trials.values()
    curves = [
        LiveCurve(label=label, train=tuple(one.train), valid=tuple(one.valid))
        for label, one in zip(apart([one.label for one in trials]), trials, strict=True)
    ]
    return live_curves(curves, max((one.epochs for one in trials), default=1)) or ""


def _trials(standing: Standing) -> str:
    """The best trials and those that are being trained, the best one marked."""
    if not standing.trials:
        return ""
    labels = dict(zip(standing.trials, apart([one.label for one in standing.trials.values()]), strict=True))
    shown = standing.chosen(_SHOWN_TRIALS)
    rows = "".join(_row(one, labels[one.id], standing) for one in shown)
    left = len(standing.trials) - len(shown)
    more = f"<p><small>and {left} more</small></p>" if left else ""
    heads = "".join(f"<th>{name}</th>" for name in ("", "trial", "plan", "state", "epoch", "loss", "valid"))
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>{more}"


def _row(one: Followed, label: str, standing: Standing) -> str:
    best = one is standing.best
    cells = ("★" if best else "", one.id, label, one.state(standing.clock()), *one.numbers)
    return f"<tr{' class=best' if best else ''}>{''.join(f'<td>{_escaped(cell)}</td>' for cell in cells)}</tr>"


def _bar(share: float | None) -> str:
    if share is None:
        return ""
    done = f"{100 * min(max(share, 0.0), 1.0):.1f}"
    return (
        f'<div role="progressbar" aria-valuemin="0" aria-valuemax="100" aria-valuenow="{done}" '
        'style="height: 6px; margin: 0.4em 0; border-radius: 3px; overflow: hidden; background: var(--rule)">'
        f'<div style="height: 100%; width: {done}%; background: var(--series-1, #0067b1)"></div></div>'
    )


def _escaped(text: str) -> str:
    return escape(printable(text))
