"""The top of the page: the answer, what it rests on, and the systems on one scale."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from fewtune.report import metrics, tables, words
from fewtune.report.metrics import Metric
from fewtune.report.reservation import NO_RIVAL, reservation, without
from fewtune.report.summary import Interval, MetricValue, Summary, SystemLine
from fewtune.report.tables import Against

MOST_BARS = 5
_USE = "Use the tuned model"
_SENTENCE_END = re.compile(r"(?<=\.) (?=[A-Z])")


@dataclass(frozen=True, kw_only=True)
class Bar:
    system: SystemLine
    value: str
    interval: str
    left: float
    """Where the interval begins on the common scale, in per cent; likewise `middle` and `right`."""
    middle: float
    right: float
    against: Against | None


@dataclass(frozen=True, kw_only=True)
class FirstScreen:
    answer: str
    reason: str
    details: str
    """What the verdict says after its reason; a sweep's tells of the search."""
    advice: str
    """What to do now, for somebody who has never tuned a model; empty where the verdict gives none."""
    next: tuple[tuple[str, str], ...]
    """Parts of the page to read now: what to do there, and the part's name."""
    metric: Metric | None
    bars: tuple[Bar, ...]
    others: int
    """Systems that are only in the comparison."""

    @property
    def told(self) -> bool:
        """Whether it is known how far chance could move the values."""
        return any(bar.interval != words.UNKNOWN for bar in self.bars)


def first_screen(summary: Summary) -> FirstScreen:
    answer, reason, details = verdict_parts(summary.verdict)
    metric = metrics.primary(summary)
    measured = _measured(summary, metric) if metric else ()
    shown = _most_telling(measured)
    return FirstScreen(
        answer=answer,
        reason=reason,
        details=details,
        advice=_advice(summary, answer, metric),
        next=_next(summary, answer),
        metric=metric,
        bars=_bars(summary, metric, shown) if metric else (),
        others=len(measured) - len(shown),
    )


def verdict_parts(verdict: str) -> tuple[str, str, str]:
    """`Use the tuned model: on 19 rows .... Cost: ...` as the answer, its reason, which is one sentence, and the rest.

    A verdict without a colon is all answer.
    """
    answer, _, said = verdict.partition(": ")
    if len(answer) > 60:
        return verdict, "", ""
    reason, *details = _SENTENCE_END.split(said[:1].upper() + said[1:], maxsplit=1)
    return answer, reason, "".join(details)


_ADVICE = {
    _USE: "On prompts that it has never seen it does better than every rival.",
    "Do not use the tuned model": "Something cheaper, which is named here, answers better.",
    "Do not tune": "Nothing is gained over something cheaper, which is named here; more examples may change that.",
    "Tune": "A sweep only chooses: fewtune run with the same file judges the model by rows that chose nothing.",
    "Cannot be told": "Keep more rows out of the training, with --test, and run it again.",
}


def _advice(summary: Summary, answer: str, metric: Metric | None) -> str:
    reserved = reservation(summary)
    if metric and answer == _USE and (reserved or without(summary, metric)):
        return f"By {metric.in_sentence} it does better than every rival that has one. {reserved}".rstrip()
    return _ADVICE.get(answer.rstrip("."), "")


def _next(summary: Summary, answer: str) -> tuple[tuple[str, str], ...]:
    """Whoever is told not to use a model is not shown how to."""
    read = (("read the answers", "predictions"),) if summary.predictions else ()
    if summary.chosen is not None and answer in (_USE, "Tune"):
        return (*read, ("see how to use the model", "use"))
    return (("see what does as well or better", "comparison"), *read) if answer.startswith("Do not") else read


def _measured(summary: Summary, metric: Metric) -> tuple[tuple[SystemLine, MetricValue], ...]:
    found = ((system, system.metrics.get(metric.name)) for system in tables.by_strength(summary))
    return tuple(
        (system, value)
        for system, value in found
        if system.name != NO_RIVAL and value is not None and math.isfinite(value.value)
    )


def _most_telling(
    measured: tuple[tuple[SystemLine, MetricValue], ...],
) -> tuple[tuple[SystemLine, MetricValue], ...]:
    """The tuned model, its hardest rivals, and in any case the base: the one that everybody knows."""
    if len(measured) <= MOST_BARS:
        return measured
    first, rest = measured[: MOST_BARS - 1], measured[MOST_BARS - 1 :]
    base = tuple(one for one in rest if one[0].name == "base")
    return (*first, *(base or rest[:1]))


def _bars(summary: Summary, metric: Metric, shown: tuple[tuple[SystemLine, MetricValue], ...]) -> tuple[Bar, ...]:
    spans = [value.interval or Interval(low=value.value, high=value.value) for _, value in shown]
    low, high = min((span.low for span in spans), default=0.0), max((span.high for span in spans), default=0.0)

    def place(value: float) -> float:
        return round(100 * (value - low) / (high - low), 2) if high > low else 50.0

    return tuple(
        Bar(
            system=system,
            value=metric.write(value.value),
            interval=metric.interval(value.interval),
            left=place(span.low),
            middle=place(value.value),
            right=place(span.high),
            against=tables.tuned_against(summary, metric, system.name),
        )
        for (system, value), span in zip(shown, spans, strict=True)
    )
