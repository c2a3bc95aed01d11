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

from fewtune.cost.estimate import spoken_duration
from fewtune.experiment.progress import Answering, Note, Progress, Rung, Stage, Standing, Training, Watch, unwatched
from fewtune.report.live import LiveCurve, live_curves
from fewtune.report.words import printable

_SECONDS_BETWEEN_PICTURES = 1.5
_MOST_TIME_DRAWING = 0.05
"""Share of a run's time that may go into its curves: a small machine trains rather than draws."""
_SHOWN_NOTES = 5

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
class _Part:
    """A stage that began, and what became of it."""

    text: str
    began: float
    seconds: float | None = None
    mark: str = "▸"

    @property
    def line(self) -> str:
        return self.text if self.seconds is None else f"{self.text} · {spoken_duration(self.seconds)}"


@dataclass(kw_only=True)
class _Trace:
    """The losses of one trial, as they were told: (epoch, loss)."""

    label: str
    train: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    valid: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])

    def add(self, event: Training) -> None:
        if event.loss is not None:
            self.train.append((event.epoch, event.loss))
        # Every event repeats the last measured validation loss.
        if event.valid_loss is not None and event.valid_loss not in [loss for _, loss in self.valid[-1:]]:
            self.valid.append((event.epoch, event.valid_loss))


@dataclass(kw_only=True)
class _Curves:
    """The picture of all traces, drawn anew when there is something new and time for it."""

    clock: Callable[[], float]
    traces: dict[str, _Trace] = field(default_factory=dict[str, _Trace])
    epochs: int = 1
    svg: str = ""
    stale: bool = False
    rest_until: float = 0.0

    def add(self, event: Training) -> None:
        self.traces.setdefault(event.trial, _Trace(label=event.label)).add(event)
        self.epochs = max(self.epochs, event.epochs)
        self.stale = True

    def draw(self, *, now: bool) -> str:
        began = self.clock()
        if self.stale and (now or began >= self.rest_until):
            self.svg, self.stale = live_curves(self._curves(), self.epochs) or "", False
            ended = self.clock()
            self.rest_until = ended + (ended - began) / _MOST_TIME_DRAWING
        return self.svg

    def _curves(self) -> list[LiveCurve]:
        labels = _apart([trace.label for trace in self.traces.values()])
        return [
            LiveCurve(label=label, train=tuple(trace.train), valid=tuple(trace.valid))
            for label, trace in zip(labels, self.traces.values(), strict=True)
        ]


def _apart(labels: list[str]) -> list[str]:
    """`rate 0.002, batch 4` and `rate 0.005, batch 4` as `rate 0.002` and `rate 0.005`."""
    parts = [label.split(", ") for label in labels]
    common = set(parts[0]).intersection(*parts[1:])
    return [", ".join(part for part in one if part not in common) or ", ".join(one) for one in parts]


@dataclass(kw_only=True)
class NotebookWatch:
    """A Watch that shows what it is told."""

    display: Display
    clock: Callable[[], float]
    curves: _Curves
    parts: list[_Part] = field(default_factory=list[_Part])
    notes: list[str] = field(default_factory=list[str])
    standing: Standing = field(default_factory=Standing)
    detail: str = ""
    share: float | None = None
    """Of the current stage; None where it is not known how far it is."""
    shown_at: float = float("-inf")

    def __call__(self, event: Progress) -> None:
        match event:
            case Stage():
                self._close_part("✓")
                self.parts.append(_Part(text=event.text, began=self.clock()))
            case Training():
                self.curves.add(event)
                self.standing.add(event)
                self.share = event.done
                self.detail = " · ".join(filter(None, (_training_detail(event), self.standing.line)))
            case Answering():
                self.share, self.detail = event.done / event.of, f"{event.system}: {event.done} of {event.of}"
            case Rung():
                self.standing.add(event)
            case Note():
                self.notes.append(event.text)
        self._show(now=isinstance(event, Stage))

    def end(self, *, finished: bool) -> None:
        """Show the run as it was left."""
        self._close_part("✓" if finished else "✗")
        self._show(now=True)

    def _close_part(self, mark: str) -> None:
        if self.parts:
            last = self.parts[-1]
            last.seconds, last.mark = self.clock() - last.began, mark
        self.share, self.detail = None, ""

    def _show(self, *, now: bool) -> None:
        if not now and self.clock() - self.shown_at < _SECONDS_BETWEEN_PICTURES:
            return
        self.display(_html(self, self.curves.draw(now=now)), _text(self))
        self.shown_at = self.clock()


def watch_in_notebook(display: Display | None = None, clock: Callable[[], float] = time.monotonic) -> NotebookWatch:
    """A watcher that shows a run in one output of the current cell, renewed in place; `clock` tells seconds.

    Only HTML is shown, no widget, so that it works wherever notebooks do and stays in the saved file.
    """
    return NotebookWatch(display=display or _CellOutput(), clock=clock, curves=_Curves(clock=clock))


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


def _training_detail(event: Training) -> str:
    parts = [f"{event.done:.0%}"]
    if event.tokens_per_second:
        parts.append(f"{event.tokens_per_second:,.0f} tokens/s")
    if event.seconds_left is not None:
        parts.append(f"{spoken_duration(event.seconds_left)} left")
    return " · ".join(parts)


def _text(watch: NotebookWatch) -> str:
    lines = [f"{part.mark} {part.line}" for part in watch.parts]
    return printable("\n".join([*lines, *filter(None, [watch.detail]), *watch.notes[-_SHOWN_NOTES:]]))


_STYLE = """
.fewtune-live { max-width: 46em; --ink: currentColor; --paper: transparent;
  --dim: color-mix(in srgb, currentColor 70%, transparent); --rule: color-mix(in srgb, currentColor 16%, transparent) }
.fewtune-live p { margin: 0.15em 0 }
.fewtune-live svg { display: block; margin-top: 0.8em }
[data-jp-theme-light="false"] .fewtune-live, .vscode-dark .fewtune-live, [theme="dark"] .fewtune-live {
  --series-1: #62b3f0; --series-2: #f0955a; --series-3: #45c49b; --series-4: #d98bc6; --series-5: #d2b24c }
"""
"""The letters are the notebook's own colour, on whatever ground it has; the dark themes of Jupyter, VS Code and
Colab, in this order, get lighter curves."""


def _html(watch: NotebookWatch, svg: str) -> str:
    parts = "".join(f"<p>{part.mark} {_escaped(part.line)}</p>" for part in watch.parts)
    detail = f"<p><small>{_escaped(watch.detail)}</small></p>" if watch.detail else ""
    notes = "".join(f"<p><small>{_escaped(note)}</small></p>" for note in watch.notes[-_SHOWN_NOTES:])
    return f'<div class="fewtune-live"><style>{_STYLE}</style>{parts}{_bar(watch.share)}{detail}{notes}{svg}</div>'


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
