"""How a run stands, put together from what it told; terminal and notebook show this."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from fewtune.cost.estimate import spoken_duration
from fewtune.experiment.progress import Answering, Failed, Progress, Rung, Stage, Training
from fewtune.report.words import counted, dollars

_SECONDS_OF_REST = 15.0
"""A trial that was not heard of for so long is not being trained at the moment."""


@dataclass(kw_only=True)
class Part:
    """A stage that began, and what became of it."""

    text: str
    began: float
    seconds: float | None = None
    mark: str = "▸"

    @property
    def line(self) -> str:
        return self.text if self.seconds is None else f"{self.text} · {spoken_duration(self.seconds)}"


@dataclass(kw_only=True)
class Followed:
    """One trial, as far as it was told; points are (epoch, loss)."""

    id: str
    label: str
    epochs: int
    competes: bool = True
    epoch: float = 0.0
    loss: float | None = None
    heard_at: float = 0.0
    end: str = ""
    """`done`, `dropped` or `failed`; empty while it may be trained on."""
    train: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    valid: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])

    @property
    def lowest(self) -> tuple[float, float] | None:
        """Where its validation loss was lowest: (epoch, loss)."""
        measured = [point for point in self.valid if math.isfinite(point[1])]
        return min(measured, key=lambda point: point[1]) if measured else None

    @property
    def numbers(self) -> tuple[str, str, str]:
        """Epoch, training loss and lowest validation loss, as they are shown."""
        loss = "–" if self.loss is None else f"{self.loss:.2f}"
        return f"{self.epoch:.1f}/{self.epochs}", loss, f"{self.lowest[1]:.3f}" if self.lowest else "–"

    def add(self, event: Training, now: float) -> None:
        self.epoch, self.epochs, self.heard_at = event.epoch, event.epochs, now
        if event.loss is not None:
            self.loss = event.loss
            self.train.append((event.epoch, event.loss))
        # Every event repeats the last measured validation loss.
        if event.valid_loss is not None and event.valid_loss not in [loss for _, loss in self.valid[-1:]]:
            self.valid.append((event.epoch, event.valid_loss))
        self.end = "done" if event.epoch >= event.epochs else ""

    def state(self, now: float) -> str:
        return self.end or ("training" if now - self.heard_at < _SECONDS_OF_REST else "resting")


@dataclass(kw_only=True)
class Standing:
    clock: Callable[[], float] = time.monotonic
    parts: list[Part] = field(default_factory=list[Part])
    trials: dict[str, Followed] = field(default_factory=dict[str, Followed])
    ended: set[str] = field(default_factory=set[str])
    """Trials that are trained no further, also those of which nothing else was told this time."""
    last: Training | Answering | None = None
    """What the current stage told last."""

    def add(self, event: Progress) -> None:
        match event:
            case Stage():
                self.close("✓")
                self.parts.append(Part(text=event.text, began=self.clock()))
                if event.name == "load":
                    # What was trained before was trained on a cheap base, whose losses say nothing here.
                    self.trials, self.ended = {}, set()
            case Training():
                self._follow(event)
                self.last = event
            case Answering():
                self.last = event
            case Rung():
                for name in event.ended:
                    self._end(name, "dropped")
            case Failed():
                self._end(event.trial, "failed")
            case _:
                pass

    def close(self, mark: str) -> None:
        """The current stage is over."""
        if self.parts:
            last = self.parts[-1]
            last.seconds, last.mark = self.clock() - last.began, mark
        self.last = None

    def _follow(self, event: Training) -> None:
        new = Followed(id=event.trial, label=event.label, epochs=event.epochs, competes=event.competes)
        trial = self.trials.setdefault(event.trial, new)
        trial.add(event, self.clock())
        # A run that is extended trains some on that had ended.
        (self.ended.add if trial.end else self.ended.discard)(trial.id)

    def _end(self, name: str, how: str) -> None:
        self.ended.add(name)
        if name in self.trials:
            self.trials[name].end = self.trials[name].end or how

    @property
    def share(self) -> float | None:
        """Of the current stage; None where it is not known how far it is."""
        match self.last:
            case Training():
                return self.last.done
            case Answering():
                return self.last.done / self.last.of
            case None:
                return None

    @property
    def detail(self) -> str:
        """`40 s left · 1,900 tokens/s · $0.00 so far`, or `few-shot: 3 of 12`."""
        match self.last:
            case Training():
                left, speed, usd = self.last.seconds_left, self.last.tokens_per_second, self.last.usd
                parts = [] if left is None else [f"{spoken_duration(left)} left"]
                parts += [f"{speed:,.0f} tokens/s"] if speed else []
                parts += [] if usd is None else [f"{dollars(usd)} so far"]
                return " · ".join(parts)
            case Answering():
                return f"{self.last.system}: {self.last.done} of {self.last.of}"
            case None:
                return ""

    @property
    def best(self) -> Followed | None:
        """The trial with the lowest validation loss, of those whose rows are the same."""
        measured = [(one.lowest[1], one) for one in self.trials.values() if one.lowest and one.competes]
        return min(measured, key=lambda pair: pair[0])[1] if measured else None

    def chosen(self, most: int) -> list[Followed]:
        """At most so many trials, in the order in which they began: half of them the best ones, then those that are
        being trained, then the next best."""
        now = self.clock()
        ranked = sorted(self.trials.values(), key=_rank)
        best, others = ranked[: (most + 1) // 2], ranked[(most + 1) // 2 :]
        others.sort(key=lambda one: one.state(now) != "training")
        taken = {one.id for one in (*best, *others)[:most]}
        return [one for one in self.trials.values() if one.id in taken]

    @property
    def line(self) -> str:
        """`best so far 3.412, t2 rate 0.002, batch 4 after 2 epochs · 3 trials done`; nothing before a first loss."""
        best = self.best
        if best is None or best.lowest is None:
            return ""
        epoch, loss = best.lowest
        epochs = f"{epoch:.1f}".removesuffix(".0")
        where = f"{best.id} {best.label} after {epochs} {'epoch' if epochs == '1' else 'epochs'}"
        return f"best so far {loss:.3f}, {where} · {counted(len(self.ended), 'trial')} done"


def _rank(trial: Followed) -> float:
    return trial.lowest[1] if trial.lowest and trial.competes else math.inf


def apart(labels: Sequence[str]) -> list[str]:
    """`rate 0.002, batch 4` and `rate 0.005, batch 4` as `rate 0.002` and `rate 0.005`."""
    parts = [label.split(", ") for label in labels]
    common = set(parts[0]).intersection(*parts[1:]) if parts else set[str]()
    return [", ".join(part for part in one if part not in common) or ", ".join(one) for one in parts]
