"""Measure what the systems answered to the same held-out rows, and compare the tuned model with every other one."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from fewtune.evaluation.comparison import (
    Compared,
    Measured,
    bounded,
    compare,
    corrected,
    raised,
    summarise,
    verdict_sentence,
)
from fewtune.evaluation.json_metrics import INVALID as NO_JSON
from fewtune.evaluation.json_metrics import Field, fields, plain
from fewtune.evaluation.label_metrics import LabelAnswers, label_answers, label_key
from fewtune.evaluation.metric import AnswerMetric, Column, Metric, Row
from fewtune.experiment.measures import Measures
from fewtune.experiment.rivals import LOOKED_UP, REFERENCE, RUNNER_UP, TUNED
from fewtune.store.runs import PredictionRecord
from fewtune.types import Example

_Value = TypeVar("_Value")

NOT_RIVALS = (RUNNER_UP, REFERENCE)
"""Systems that are shown beside the others and do not speak against the tuned model: another tuned one, and a
bigger model."""


@dataclass(frozen=True, kw_only=True)
class Failed:
    """A metric that could not be had of some rows."""

    metric: str
    system: str
    rows: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What the held-out rows say."""

    measures: Measures
    primary: str
    """The metric that decided."""
    measured: Mapping[str, Mapping[str, Measured]]
    """System, then metric."""
    compared: Mapping[str, Mapping[str, Compared]]
    """Rival, then metric: tuned minus rival."""
    row_values: Mapping[str, Mapping[str, Sequence[float | None]]]
    """System, then metric, in the order of the held-out rows; metrics of all rows together are not among them."""
    invalid: Mapping[str, Sequence[str | None]]
    """By system, why an answer cannot be used."""
    references: Sequence[tuple[str, ...]]
    """Of each held-out row."""
    labels: Mapping[str, LabelAnswers]
    fields: Mapping[str, tuple[Field, ...]]
    failed: tuple[Failed, ...]
    shots: int
    """Worked examples that did fit into the few-shot prompt."""
    sentence: str


def judge(
    rows: Sequence[Example],
    measures: Measures,
    predictions: Sequence[PredictionRecord],
    shots: int,
    order: Sequence[str],
) -> Judgement:
    """Measure every system in every metric that it can be measured in, and compare the tuned one with each other.

    The systems are those that have predictions, in the given order, and then any others.
    """
    references = _references(rows, measures.task.kind)
    systems = _by_system(rows, references, predictions, order)
    columns = {name: _columns(measures.metrics, answered) for name, answered in systems.items()}
    compared = _compared(measures.metrics, columns)
    primary = _deciding(measures, compared)
    kind = measures.task.kind
    return Judgement(
        measures=measures,
        primary=primary.name,
        measured={name: _measured(measures.metrics, found) for name, found in columns.items()},
        compared=compared,
        row_values={name: _row_values(found) for name, found in columns.items()},
        invalid={name: [_invalid(row, measures) for row in answered] for name, answered in systems.items()},
        references=references,
        labels={
            name: label_answers(one, measures.task.labels)
            for name, one in systems.items()
            if _writes(one, kind, "labels")
        },
        fields={name: fields(one) for name, one in systems.items() if _writes(one, kind, "json")},
        failed=tuple(_failures(columns)),
        shots=shots,
        sentence=_sentence(primary, compared),
    )


def _references(rows: Sequence[Example], kind: str) -> list[tuple[str, ...]]:
    """What the data give as further good answers; besides, held-out rows with the same prompt are references of each
    other, but two labels of one prompt a contradiction."""
    asked: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if kind != "labels":
            asked[row.prompt.strip()] += (row.completion, *row.references)
    return [
        tuple(
            dict.fromkeys(
                one
                for one in (*row.references, *asked.get(row.prompt.strip(), ()))
                if one.strip() != row.completion.strip()
            )
        )
        for row in rows
    ]


def _by_system(
    rows: Sequence[Example],
    references: Sequence[tuple[str, ...]],
    predictions: Sequence[PredictionRecord],
    order: Sequence[str],
) -> dict[str, list[Row]]:
    found: dict[str, dict[int, PredictionRecord]] = defaultdict(dict)
    for one in predictions:
        found[one.system][one.row] = one
    return {
        name: [_row(row, others, by_row.get(row.row)) for row, others in zip(rows, references, strict=True)]
        for name in (*order, *sorted(found.keys() - set(order)))
        if (by_row := found.get(name))
    }


def _row(example: Example, references: tuple[str, ...], found: PredictionRecord | None) -> Row:
    """Likelihoods are those of the answer without its stop: a prompt cannot teach the base where an answer ends, and
    the comparison should not turn on that. What looks its answers up always stays within the set of labels."""
    if found is None:
        return Row(answer=None, expected=example.completion, references=references)
    label, confidence = _likeliest(found.label_log_likelihoods)
    if label is None and found.system in LOOKED_UP:
        label = found.text
    return Row(
        answer=found.text,
        expected=example.completion,
        references=references,
        log_likelihoods=_without_stop(found.log_likelihoods),
        greedy=_without_stop(found.greedy),
        label=label,
        confidence=confidence,
    )


def _without_stop(values: Sequence[_Value] | None) -> tuple[_Value, ...] | None:
    return tuple(values[:-1] or values) if values else None


def _likeliest(labels: Mapping[str, float] | None) -> tuple[str | None, float | None]:
    """The likeliest label, and its probability among all of them."""
    if not labels:
        return None, None
    best = max(labels, key=lambda label: labels[label])
    if not math.isfinite(labels[best]):
        return None, None
    return best, 1 / math.fsum(math.exp(value - labels[best]) for value in labels.values())


def _columns(metrics: Sequence[Metric], rows: Sequence[Row]) -> dict[str, Column]:
    found = {metric.name: metric.column(rows) for metric in metrics}
    return {name: one for name, one in found.items() if one.failures or any(value is not None for value in one.values)}


def _measured(metrics: Sequence[Metric], columns: Mapping[str, Column]) -> dict[str, Measured]:
    told = {
        metric.name: [value for value in columns[metric.name].values if value is not None]
        for metric in metrics
        if metric.name in columns
    }
    by_name = {metric.name: metric for metric in metrics}
    return {name: _summary(by_name[name], values) for name, values in told.items() if values}


def _summary(metric: Metric, values: Sequence[float]) -> Measured:
    found = summarise(values, binary=metric.binary)
    if metric.most is not None:
        found = replace(found, interval=bounded(found.interval, 0.0, metric.most))
    return raised(found) if metric.logarithmic else found


def _compared(metrics: Sequence[Metric], columns: Mapping[str, Mapping[str, Column]]) -> dict[str, dict[str, Compared]]:
    """Rival, then metric; p and verdict of a metric are corrected for the number of rivals that have it."""
    compared: dict[str, dict[str, Compared]] = {name: {} for name in columns if name != TUNED}
    for metric in metrics:
        if not metric.compared or metric.name not in columns.get(TUNED, {}):
            continue
        higher = bool(metric.higher_is_better)
        against = {
            name: one
            for name in compared
            if metric.name in columns[name]
            if (one := _against(metric, higher, columns[TUNED], columns[name]))
        }
        for name, one in corrected(against, higher_is_better=higher).items():
            compared[name][metric.name] = one
    return compared


def _against(
    metric: Metric, higher_is_better: bool, tuned: Mapping[str, Column], other: Mapping[str, Column]
) -> Compared | None:
    """On the rows that both have a value of; None where there is none."""
    both = zip(tuned[metric.name].values, other[metric.name].values, strict=True)
    pairs = [(a, b) for a, b in both if a is not None and b is not None]
    if not pairs:
        return None
    first, second = zip(*pairs, strict=True)
    found = compare(first, second, higher_is_better=higher_is_better, binary=metric.binary)
    return found if metric.most is None else replace(found, interval=bounded(found.interval, -metric.most, metric.most))


def _deciding(measures: Measures, compared: Mapping[str, Mapping[str, Compared]]) -> Metric:
    """The primary metric; where no rival has it, as at a service that tells no loss, how right the texts are."""
    wanted = next(metric for metric in measures.metrics if metric.name == measures.primary)
    if not compared or any(wanted.name in found for found in compared.values()):
        return wanted
    return next((one for one in measures.metrics if isinstance(one, AnswerMetric) and not one.own), wanted)


def _sentence(primary: Metric, compared: Mapping[str, Mapping[str, Compared]]) -> str:
    against = {
        rival: metrics[primary.name]
        for rival, metrics in compared.items()
        if primary.name in metrics and rival not in NOT_RIVALS
    }
    return verdict_sentence(
        against,
        metric=_spoken(primary),
        higher_is_better=bool(primary.higher_is_better),
        share=primary.unit == "share",
    )


def _spoken(metric: Metric) -> str:
    """`share of exact answers`, as the tables call it; other metrics by their own names."""
    return f"share of {metric.title.lower()}" if metric.name == "exact_match" else metric.name.replace("_", " ")


def _row_values(columns: Mapping[str, Column]) -> dict[str, Sequence[float | None]]:
    return {name: column.values for name, column in columns.items() if column.own}


def _failures(columns: Mapping[str, Mapping[str, Column]]) -> list[Failed]:
    return [
        Failed(metric=metric, system=system, rows=column.failures, reason=column.reason)
        for system, found in columns.items()
        for metric, column in found.items()
        if column.failures
    ]


def _invalid(row: Row, measures: Measures) -> str | None:
    answer, labels = row.answer, (*measures.task.labels, *row.references)
    if answer is None:
        return None
    if not answer.strip():
        return "empty"
    if measures.task.kind == "labels" and label_key(answer) not in map(label_key, labels):
        return "not a label"
    if measures.task.kind == "json" and plain(answer) is NO_JSON:
        return "not JSON"
    return None


def _writes(rows: Sequence[Row], kind: str, wanted: str) -> bool:
    return kind == wanted and any(row.answer is not None for row in rows)
