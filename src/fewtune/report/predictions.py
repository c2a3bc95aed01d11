"""What the systems answered, row by row, as one plain table for the page, the files and a comparison of runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from fewtune.report import metrics, tables, words
from fewtune.report.evaluation_part import AnswerLine
from fewtune.report.metrics import Metric
from fewtune.report.summary import PredictionLine, Summary

SINGLE_ANSWER_TASKS = ("labels", "json")
"""Tasks with one right answer; free text has no right and wrong."""
_RIGHT = "exact_match"
_TUNED = "tuned"
_USUAL = ("base", "few-shot", _TUNED)


@dataclass(frozen=True, kw_only=True)
class Row:
    line: PredictionLine
    answers: Mapping[str, AnswerLine]
    """By system; in runs that tell no details, the bare text, with whether it is right."""

    def right(self, system: str) -> bool | None:
        """None where nobody can say."""
        found = (self.answers[system].metrics or {}).get(_RIGHT) if system in self.answers else None
        return None if found is None else found == 1


@dataclass(frozen=True, kw_only=True)
class Predictions:
    systems: tuple[str, ...]
    shown: tuple[str, ...]
    """What a reader sees first."""
    subject: str | None
    """Whom the filters are about until the reader asks for another one, and beside whom: the rival."""
    rival: str | None
    metrics: tuple[Metric, ...]
    """Those with a value for each row, the one that decides the verdict first."""
    single: bool
    """Whether each row has one right answer."""
    rows: tuple[Row, ...]


def predictions(summary: Summary) -> Predictions:
    single = summary.data.task in SINGLE_ANSWER_TASKS
    rows = tuple(_row(line, summary.data.task, single) for line in summary.predictions)
    measured = {name for row in rows for answer in row.answers.values() for name in answer.metrics or {}}
    primary = metrics.primary_name(summary)
    order = [metric.name for metric in metrics.in_order(summary)]
    names = [name for name in order if name in measured] + sorted(measured - set(order))
    systems = _systems(summary)
    return Predictions(
        systems=systems,
        shown=tuple(name for name in systems if name in _USUAL) or systems[:3],
        subject=_TUNED if _TUNED in systems else next(iter(systems), None),
        rival=_rival(systems),
        metrics=tuple(metrics.of(summary, name) for name in sorted(names, key=lambda name: name != primary)),
        single=single,
        rows=rows,
    )


def _rival(systems: tuple[str, ...]) -> str | None:
    others = [name for name in systems if name != _TUNED]
    return next((name for name in ("few-shot", "base") if name in others), others[-1] if len(systems) > 1 else None)


def _systems(summary: Summary) -> tuple[str, ...]:
    """In the order of the comparison; those that were not measured last."""
    answered = dict.fromkeys(name for line in summary.predictions for name in (*line.answers, *line.details))
    compared = [system.name for system in summary.systems if system.name in answered]
    return tuple(dict.fromkeys((*compared, *answered)))


def _row(line: PredictionLine, task: str, single: bool) -> Row:
    names = dict.fromkeys((*line.answers, *line.details))
    return Row(line=line, answers={name: _answer(line, name, task, single) for name in names})


def _answer(line: PredictionLine, name: str, task: str, single: bool) -> AnswerLine:
    known = line.details.get(name)
    if known is not None and known.metrics is not None:
        return known
    samples = known.samples if known else (line.answers[name],)
    values = {_RIGHT: tables.judge(task)(samples[0], line.expected)} if single and samples else None
    if known is None:
        return AnswerLine(samples=samples, metrics=values)
    return replace(known, metrics=values)


def document(found: Predictions) -> dict[str, Any]:
    """What the page's script reads; an answer is a list, to say the names of its parts once and not in each row."""
    return {
        "systems": [{"name": name, "title": words.system(name)} for name in found.systems],
        "subject": found.subject,
        "rival": found.rival,
        "metrics": [
            {"name": one.name, "label": one.label, "lower": one.lower_is_better, "share": one.write is words.share}
            for one in found.metrics
        ],
        "single": found.single,
        "rows": [_packed(row, found) for row in found.rows],
    }


def _packed(row: Row, found: Predictions) -> list[Any]:
    answers = [_packed_answer(row.answers.get(name), found) for name in found.systems]
    return [row.line.source, row.line.prompt, row.line.expected, list(row.line.references), answers]


def _packed_answer(answer: AnswerLine | None, found: Predictions) -> list[Any] | None:
    if answer is None:
        return None
    values = [number((answer.metrics or {}).get(one.name)) for one in found.metrics]
    known = (answer.tokens, number(answer.seconds), answer.seed, answer.stop_reason, answer.invalid)
    return [list(answer.samples), values, *known]


def number(value: float | None) -> float | int | None:
    """To six significant digits, and whole where it is: a script and a program write it alike. Not a number: None."""
    if value is None or value != value or value in (float("inf"), float("-inf")):
        return None
    rounded = float(f"{value:.6g}")
    return int(rounded) if rounded == int(rounded) and abs(rounded) < 1e15 else rounded
