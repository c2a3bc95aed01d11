"""What each metric is called, what it means to somebody who has never trained a model, and how it is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fewtune.evaluation import metrics as evaluation
from fewtune.report import words
from fewtune.report.evaluation_part import MetricLine
from fewtune.report.summary import Interval, Summary

_JUDGES: Mapping[str, str] = {**evaluation.PRIMARY}
"""By task, the metric that decides the verdict in runs that do not say it themselves."""
MOST_TOGETHER = 4
"""Metrics that stand side by side; a page and a terminal hold no more."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    name: str
    label: str
    meaning: str
    lower_is_better: bool | None
    """None where neither is better, as for a length."""
    write: Callable[[float], str]

    @property
    def direction(self) -> str:
        if self.lower_is_better is None:
            return "neither is better"
        return "lower is better" if self.lower_is_better else "higher is better"

    @property
    def in_sentence(self) -> str:
        """Its label within a sentence: `likeness (chrF)`, but `BLEU` and `F1` as they are."""
        return _lower(self.label)

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


_WRITERS: Mapping[str, Callable[[float], str]] = {"share": words.share, "points": words.score}


def metric(name: str, told: MetricLine | None) -> Metric:
    """As the run tells of it, else its bare name."""
    if told is None:
        return Metric(name=name, label=words.heading(name), meaning="", lower_is_better=False, write=words.loss)
    return Metric(
        name=name,
        label=words.printable(told.title),
        meaning=_lower(words.printable(told.meaning).rstrip(".")),
        lower_is_better=None if told.higher_is_better is None else not told.higher_is_better,
        write=_WRITERS.get(told.unit, words.loss),
    )


def _lower(text: str) -> str:
    """As it stands within a sentence; a first word such as BLEU or F1 stays as it is."""
    first = text.partition(" ")[0]
    named = any(letter.isupper() or letter.isdigit() for letter in first[1:])
    return text if named else text[:1].lower() + text[1:]


def of(summary: Summary, name: str) -> Metric:
    return metric(name, _told(summary).get(name))


def in_order(summary: Summary) -> tuple[Metric, ...]:
    """The metrics that some system has, the one that decides first, then those that every system has."""
    found = {name for system in summary.systems for name in system.metrics}
    listed = [name for name in _told(summary) if name in found]
    names = listed + sorted(found - set(listed))
    judge = primary_name(summary)
    names.sort(key=lambda name: (name != judge, _is_missing(summary, name)))
    return tuple(of(summary, name) for name in names)


def together(summary: Summary) -> tuple[tuple[Metric, ...], ...]:
    """The same, in parts that fit side by side; the first one holds the most telling ones."""
    found = in_order(summary)
    return tuple(found[start : start + MOST_TOGETHER] for start in range(0, len(found), MOST_TOGETHER))


def primary_name(summary: Summary) -> str | None:
    """The metric that decides the verdict, whether or not it was measured."""
    return summary.evaluation.primary if summary.evaluation else _JUDGES.get(summary.data.task)


def primary(summary: Summary) -> Metric | None:
    """The metric that the top of the report shows; None where nothing was measured."""
    return next(iter(in_order(summary)), None)


def _told(summary: Summary) -> dict[str, MetricLine]:
    """What the run tells of its metrics; those of runs that do not were the task's own."""
    if summary.evaluation:
        return {line.name: line for line in summary.evaluation.metrics}
    task = summary.data.task if summary.data.task in evaluation.TASKS else "text"
    return {one.name: _line(one) for one in evaluation.every_metric(task)}


def _line(known: evaluation.Metric) -> MetricLine:
    return MetricLine(
        name=known.name,
        title=known.title,
        unit=known.unit,
        higher_is_better=known.higher_is_better,
        meaning=known.meaning,
    )


def _is_missing(summary: Summary, name: str) -> bool:
    return any(name not in system.metrics for system in summary.systems)
