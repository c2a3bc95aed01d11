"""A run's progress on stderr: a display that moves in a terminal, one line each ten seconds elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live

from fewtune.cli.board import board
from fewtune.cost.estimate import spoken_duration
from fewtune.experiment import progress as told
from fewtune.experiment.progress import Watch, unwatched
from fewtune.experiment.standing import Standing
from fewtune.report.words import dollars

_SECONDS_BETWEEN_LINES = 10.0
_PICTURES_PER_SECOND = 3


@contextmanager
def watching(quiet: bool) -> Generator[Watch, None, None]:
    """A watcher that shows a run as it goes, for the length of the block."""
    console = Console(stderr=True, highlight=False)
    if quiet:
        yield unwatched
    elif console.is_terminal and not console.is_dumb_terminal and not console.options.ascii_only:
        with _moving(console) as display:
            yield display.show
    else:
        yield _Lines(console=console).show


@contextmanager
def _moving(console: Console) -> Generator[_Display]:
    """However the block is left, the cursor is back and the stages stay."""
    display = _Display(console=console)
    # stdout is the command's own, and may be a file.
    with Live(display, console=console, refresh_per_second=_PICTURES_PER_SECOND, redirect_stdout=False):
        try:
            yield display
        except BaseException:
            display.end("✗")
            raise
        display.end("✓")


@dataclass(kw_only=True)
class _Display:
    """The run as it stands, drawn by a thread of rich whenever it likes."""

    console: Console
    standing: Standing = field(default_factory=Standing)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def show(self, event: told.Progress) -> None:
        with self.lock:
            self.standing.add(event)
        match event:
            case told.Note() | told.Rung() | told.Failed():
                if event.text:
                    self.console.print(event.text, style="dim", markup=False, soft_wrap=True)
            case _:
                pass

    def end(self, mark: str) -> None:
        with self.lock:
            self.standing.close(mark)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        with self.lock:
            yield board(self.standing, options.max_width, console.height)


@dataclass(kw_only=True)
class _Lines:
    """For logs and pipes."""

    console: Console
    last: float = field(default_factory=time.monotonic)
    standing: Standing = field(default_factory=Standing)

    def show(self, event: told.Progress) -> None:
        self.standing.add(event)
        match event:
            case told.Stage() | told.Note() | told.Rung() | told.Failed():
                if event.text:
                    self._print(event.text)
            case told.Training():
                parts = (training_line(event), self.standing.line)
                self._now_and_then(f"  {event.done:4.0%}  {' · '.join(filter(None, parts))}")
            case told.Answering():
                self._now_and_then(f"  {self.standing.detail}")

    def _now_and_then(self, text: str) -> None:
        if time.monotonic() - self.last >= _SECONDS_BETWEEN_LINES:
            self.last = time.monotonic()
            self._print(text)

    def _print(self, text: str) -> None:
        self.console.print(text, markup=False, soft_wrap=True)


def training_line(event: told.Training) -> str:
    """`40 s left · $0.00 so far · t2 rate 0.002, batch 4 · epoch 1.5/4 · loss 3.91 · valid 3.85 · 1,900 tokens/s`."""
    parts = [] if event.seconds_left is None else [f"{spoken_duration(event.seconds_left)} left"]
    parts += [] if event.usd is None else [f"{dollars(event.usd)} so far"]
    parts += [f"{event.trial} {event.label}", f"epoch {event.epoch:.1f}/{event.epochs}"]
    if event.loss is not None:
        parts.append(f"loss {event.loss:.2f}")
    if event.valid_loss is not None:
        parts.append(f"valid {event.valid_loss:.3f}")
    if event.tokens_per_second:
        parts.append(f"{event.tokens_per_second:,.0f} tokens/s")
    return " · ".join(parts)
