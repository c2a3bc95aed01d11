"""A run's progress on stderr: a display that moves in a terminal, one line each ten seconds elsewhere."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from fewtune.cost.estimate import spoken_duration
from fewtune.experiment import progress as told
from fewtune.experiment.progress import Watch, unwatched

_SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def watching(quiet: bool) -> Generator[Watch, None, None]:
    """A watcher that shows a run as it goes, for the length of the block."""
    console = Console(stderr=True, highlight=False)
    if quiet:
        yield unwatched
    elif console.is_terminal:
        bar = _BarsAndLines(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            console=console,
        )
        with bar:
            bars = _Bars(progress=bar)
            yield bars.show
            bars.end()
    else:
        yield _Lines(console=console).show


class _BarsAndLines(Progress):
    """The bars, and below them lines that may be as long as they like: they never squeeze a bar."""

    detail = ""
    standing = ""

    def get_renderables(self) -> Iterator[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        for line in filter(None, (self.detail, self.standing)):
            yield Text(f"  {line}", style="dim")


@dataclass(kw_only=True)
class _Bars:
    """One bar a stage; the bar of training tells trial, epoch, loss, speed and time left, and the best trial."""

    progress: _BarsAndLines
    standing: told.Standing = field(default_factory=told.Standing)
    task: TaskID | None = None
    system: str = ""

    def show(self, event: told.Progress) -> None:
        match event:
            case told.Stage():
                self.standing = told.Standing()
                self._begin(event.text)
            case told.Note():
                self.progress.console.print(event.text, style="dim", markup=False)
            case told.Rung():
                self.standing.add(event)
                if event.text:
                    self.progress.console.print(event.text, style="dim", markup=False)
            case told.Training():
                self.standing.add(event)
                self.progress.standing = self.standing.line
                self._update(event.done, training_line(event))
            case told.Answering():
                if event.system != self.system:
                    self.system = event.system
                    self._begin(f"Answering: {event.system}")
                self._update(event.done / event.of, f"{event.done} of {event.of}")

    def end(self) -> None:
        """The last stage is done."""
        self.progress.detail = self.progress.standing = ""
        if self.task is not None:
            self.progress.update(self.task, completed=1.0)

    def _begin(self, text: str) -> None:
        self.end()
        self.task = self.progress.add_task(text, total=1.0)

    def _update(self, done: float, detail: str) -> None:
        if self.task is not None:
            self.progress.detail = detail
            self.progress.update(self.task, completed=done)


@dataclass(kw_only=True)
class _Lines:
    """For logs and pipes."""

    console: Console
    last: float = field(default_factory=time.monotonic)
    standing: told.Standing = field(default_factory=told.Standing)

    def show(self, event: told.Progress) -> None:
        match event:
            case told.Stage():
                self.standing = told.Standing()
                self._print(event.text)
            case told.Note():
                self._print(event.text)
            case told.Rung():
                self.standing.add(event)
                if event.text:
                    self._print(event.text)
            case told.Training():
                self.standing.add(event)
                parts = (training_line(event), self.standing.line)
                self._now_and_then(f"  {event.done:4.0%}  {' · '.join(filter(None, parts))}")
            case told.Answering():
                self._now_and_then(f"  {event.system}: {event.done} of {event.of}")

    def _now_and_then(self, text: str) -> None:
        if time.monotonic() - self.last >= _SECONDS_BETWEEN_LINES:
            self.last = time.monotonic()
            self._print(text)

    def _print(self, text: str) -> None:
        self.console.print(text, markup=False, soft_wrap=True)


def training_line(event: told.Training) -> str:
    """`40 s left · t2 rate 0.002, batch 4 · epoch 1.5/4 · loss 3.91 · valid 3.85 · 1,900 tokens/s`."""
    left = [] if event.seconds_left is None else [f"{spoken_duration(event.seconds_left)} left"]
    parts = [*left, f"{event.trial} {event.label}", f"epoch {event.epoch:.1f}/{event.epochs}"]
    if event.loss is not None:
        parts.append(f"loss {event.loss:.2f}")
    if event.valid_loss is not None:
        parts.append(f"valid {event.valid_loss:.3f}")
    if event.tokens_per_second:
        parts.append(f"{event.tokens_per_second:,.0f} tokens/s")
    return " · ".join(parts)
