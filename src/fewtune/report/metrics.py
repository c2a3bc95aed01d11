"""What each metric is called, what it means to somebody who has never trained a model, and how it is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fewtune.evaluation import metrics as evaluation
from fewtune.report import words
from fewtune.report.summary import Interval, Summary

_JUDGES: Mapping[str, str] = {**evaluation.PRIMARY}
"""By task, the metric that decides the verdict."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    name: str
    label: str
    meaning: str
    lower_is_better: bool
    write: Callable[[float], str]

    @property
    def direction(self) -> str:
        return "lower is better" if self.lower_is_better else "higher is better"

    def interval(self, interval: Interval | None) -> str:
        if interval is None:
            return words.UNKNOWN
        low, high = self.write(interval.low), self.write(interval.high)
        return f"{low.removesuffix(f'{words.THIN}%')} to {high}"

    def difference(self, value: float) -> str:
        """Tuned minus the other, with its sign; shares differ by points, not by per cent."""
        return words.signed(self.write(value).replace(f"{words.THIN}%", " points"))

    def difference_interval(self, interval: Interval | None) -> str:
        if interval is None:
            return words.UNKNOWN
        low, high = self.difference(interval.low), self.difference(interval.high)
        return f"{low.removesuffix(' points')} to {high}"


_KNOWN = (
    Metric(
        name="loss",
        label="Loss",
        meaning="how surprised the model is by the right answer, for each token (a word or a piece of one)",
        lower_is_better=True,
        write=words.loss,
    ),
    Metric(
        name="chrf",
        label="Likeness (chrF)",
        meaning="how much the letters of the answer run like those of the expected one, from 0 to 100",
        lower_is_better=False,
        write=words.score,
    ),
    Metric(
        name="exact_match",
        label="Exact answers",
        meaning="share of answers that are the expected one: the same text, or for JSON the same value",
        lower_is_better=False,
        write=words.share,
    ),
    Metric(
        name="valid_json",
        label="Valid JSON",
        meaning="share of answers that a program can read as JSON, right or wrong",
        lower_is_better=False,
        write=words.share,
    ),
    Metric(
        name="token_accuracy",
        label="Next token right",
        meaning="how often the model's first choice is the next token of the expected answer",
        lower_is_better=False,
        write=words.share,
    ),
)
_BY_NAME = {metric.name: metric for metric in _KNOWN}


def metric(name: str) -> Metric:
    """What is known of a metric; one that is not known is shown under its own name."""
    plain = Metric(name=name, label=words.heading(name), meaning="", lower_is_better=False, write=words.loss)
    return _BY_NAME.get(name, plain)


def in_order(summary: Summary) -> tuple[Metric, ...]:
    """The metrics that some system has, the most telling for the task first."""
    found = {name for system in summary.systems for name in system.metrics}
    names = [name for name in _BY_NAME if name in found] + sorted(found - _BY_NAME.keys())
    judge = _JUDGES.get(summary.data.task)
    return tuple(metric(name) for name in sorted(names, key=lambda name: (name != judge, _is_missing(summary, name))))


def _is_missing(summary: Summary, name: str) -> bool:
    return any(name not in system.metrics for system in summary.systems)


def primary(summary: Summary) -> Metric | None:
    """The metric that the top of the report shows; None where nothing was measured."""
    return next(iter(in_order(summary)), None)
