"""What judging found, in the values that the page, the terminal and `--json` show."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from fewtune.evaluation.json_metrics import Field
from fewtune.evaluation.label_metrics import LabelAnswers
from fewtune.evaluation.metric import Metric
from fewtune.experiment.answering import seed_of
from fewtune.experiment.evaluating import Evaluated
from fewtune.experiment.judgement import Judgement
from fewtune.experiment.preparation import Prepared
from fewtune.experiment.rivals import SYSTEMS, WRITERS
from fewtune.report.evaluation_part import (
    AnswerLine,
    CalibrationLine,
    EvaluationPart,
    Failing,
    FieldLine,
    Interval,
    LabelLine,
    LabelTable,
    MetricLine,
)
from fewtune.report.summary import Difference, MetricValue, PredictionLine, SystemLine
from fewtune.statistics import Interval as Measure
from fewtune.store.runs import PredictionRecord


def evaluation_part(judgement: Judgement, evaluated: Evaluated) -> EvaluationPart:
    measures = judgement.measures
    shown = {name for found in judgement.measured.values() for name in found}
    return EvaluationPart(
        task=measures.task.kind,
        asked=measures.asked,
        primary=judgement.primary,
        metrics=tuple(_metric_line(metric) for metric in measures.metrics if metric.name in shown or metric.own),
        labels={name: _label_table(found) for name, found in judgement.labels.items()},
        fields={name: tuple(map(_field_line, found)) for name, found in judgement.fields.items()},
        copying=evaluated.copying,
        forgetting=evaluated.forgetting,
        judged=evaluated.judged,
        failing=tuple(
            Failing(metric=one.metric, system=one.system, rows=one.rows, reason=one.reason) for one in judgement.failed
        ),
    )


def _metric_line(metric: Metric) -> MetricLine:
    return MetricLine(
        name=metric.name,
        title=metric.title,
        unit=metric.unit,
        higher_is_better=metric.higher_is_better,
        meaning=metric.meaning,
        own=metric.own,
    )


def _label_table(found: LabelAnswers) -> LabelTable:
    return LabelTable(
        labels=tuple(
            LabelLine(
                label=one.label,
                rows=one.rows,
                answered=one.answered,
                precision=one.precision,
                recall=one.recall,
                f1=one.f1,
            )
            for one in found.labels
        ),
        confusion=found.confusion,
        outside=found.outside,
        calibration=tuple(
            CalibrationLine(rows=one.rows, confidence=one.confidence, accuracy=one.accuracy)
            for one in found.calibration
        ),
        calibration_error=found.calibration_error,
    )


def _field_line(found: Field) -> FieldLine:
    return FieldLine(
        path=found.path,
        rows=found.expected,
        precision=found.right / found.answered if found.answered else None,
        recall=found.right / found.expected if found.expected else None,
        f1=2 * found.right / (found.expected + found.answered),
    )


def system_lines(judgement: Judgement) -> tuple[SystemLine, ...]:
    return tuple(
        SystemLine(
            name=name,
            metrics={metric: _metric_value(one.value, one.interval) for metric, one in found.items()},
            rows=max((one.n for one in found.values()), default=0),
        )
        for name, found in judgement.measured.items()
    )


def difference_lines(judgement: Judgement) -> tuple[Difference, ...]:
    return tuple(
        Difference(
            against=rival,
            metric=metric,
            value=_metric_value(one.value, one.interval),
            verdict=one.verdict,
            p=one.p,
        )
        for rival, metrics in judgement.compared.items()
        for metric, one in metrics.items()
    )


def _metric_value(value: float, interval: Measure | None) -> MetricValue:
    shown = Interval(low=interval.low, high=interval.high) if interval else None
    return MetricValue(value=value, interval=shown)


def prediction_lines(
    prepared: Prepared, judgement: Judgement, predictions: Sequence[PredictionRecord]
) -> tuple[PredictionLine, ...]:
    answers: dict[int, dict[str, PredictionRecord]] = defaultdict(dict)
    for one in sorted(predictions, key=_place):
        if one.text is not None:
            answers[one.row][one.system] = one
    return tuple(
        PredictionLine(
            source=str(example.source),
            prompt=example.prompt,
            expected=example.completion,
            answers={name: one.text or "" for name, one in answers[example.row].items()},
            details={name: _answer_line(one, place, judgement) for name, one in answers[example.row].items()},
            references=judgement.references[place],
        )
        for place, example in enumerate(prepared.split.test)
        if example.row in answers
    )


def _place(found: PredictionRecord) -> int:
    return SYSTEMS.index(found.system) if found.system in SYSTEMS else len(SYSTEMS)


def _answer_line(found: PredictionRecord, place: int, judgement: Judgement) -> AnswerLine:
    return AnswerLine(
        samples=(found.text or "", *(found.more_texts or ())),
        tokens=found.tokens,
        seconds=found.seconds,
        seed=seed_of(found.row, 0) if found.system in WRITERS else None,
        stop_reason=found.stop_reason,
        metrics=_at(judgement.row_values[found.system], place),
        invalid=judgement.invalid[found.system][place],
    )


def _at(values: Mapping[str, Sequence[float | None]], place: int) -> dict[str, float]:
    return {name: value for name, column in values.items() if (value := column[place]) is not None}
