"""Compare what base, few-shot prompt and tuned model answered to the same held-out rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fewtune.evaluation.comparison import Compared, Measured, compare, summarise, verdict_sentence
from fewtune.evaluation.metrics import PRIMARY, for_task
from fewtune.experiment.rivals import SYSTEMS, TUNED
from fewtune.store.runs import PredictionRecord
from fewtune.types import Example


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What the held-out rows say."""

    measured: Mapping[str, Mapping[str, Measured]]
    """System, then metric."""
    compared: Mapping[str, Mapping[str, Compared]]
    """Rival, then metric: tuned minus rival."""
    shots: int
    """Worked examples that did fit into the few-shot prompt."""
    sentence: str


def judge(rows: Sequence[Example], task: str, predictions: Sequence[PredictionRecord], shots: int) -> Judgement:
    """Measure every system in every metric that all its rows have, and compare the tuned one with the others."""
    by_system = {
        name: {one.row: one for one in predictions if one.system == name}
        for name in SYSTEMS
        if any(one.system == name for one in predictions)
    }
    values = {name: _values(rows, task, found) for name, found in by_system.items()}
    kinds = _kinds(task)
    measured = {
        name: {metric: summarise(column, binary=kinds[metric][1]) for metric, column in columns.items()}
        for name, columns in values.items()
    }
    compared = {
        rival: _compare(values.get(TUNED, {}), columns, kinds) for rival, columns in values.items() if rival != TUNED
    }
    return Judgement(measured=measured, compared=compared, shots=shots, sentence=_sentence(task, compared))


def _kinds(task: str) -> dict[str, tuple[bool, bool]]:
    """Metric to (higher is better, every row is 0 or 1)."""
    kinds = {metric.name: (metric.higher_is_better, metric.binary) for metric in for_task(task)}
    return {"loss": (False, False), "token_accuracy": (True, False), **kinds}


def _values(rows: Sequence[Example], task: str, found: Mapping[int, PredictionRecord]) -> dict[str, list[float]]:
    """Metric to its value of each row, in the order of the rows.

    Loss and token accuracy are those of the answer without its stop: a prompt cannot teach the base where
    an answer ends, and the comparison should not turn on that.
    """
    columns: dict[str, list[float]] = {}
    scores = [found[row.row].log_likelihoods for row in rows if row.row in found]
    if len(scores) == len(rows) and all(scores):
        columns["loss"] = [-_mean(score[:-1] or score) for score in scores if score]
        greedy = [found[row.row].greedy or [] for row in rows]
        columns["token_accuracy"] = [_mean(one[:-1] or one) for one in greedy]
    texts = [found[row.row].text for row in rows if row.row in found]
    if len(texts) == len(rows) and None not in texts:
        for metric in for_task(task):
            columns[metric.name] = [
                metric.measure(text or "", row.completion) for text, row in zip(texts, rows, strict=True)
            ]
    return columns


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _compare(
    tuned: Mapping[str, Sequence[float]],
    rival: Mapping[str, Sequence[float]],
    kinds: Mapping[str, tuple[bool, bool]],
) -> dict[str, Compared]:
    return {
        metric: compare(tuned[metric], column, higher_is_better=kinds[metric][0], binary=kinds[metric][1])
        for metric, column in rival.items()
        if metric in tuned
    }


def _sentence(task: str, compared: Mapping[str, Mapping[str, Compared]]) -> str:
    """In the task's primary metric; where a service tells no loss, in how alike the texts are."""
    primary = PRIMARY[task] if all(PRIMARY[task] in one for one in compared.values()) else for_task(task)[0].name  # type: ignore[index]
    against = {rival: metrics[primary] for rival, metrics in compared.items() if primary in metrics}
    return verdict_sentence(against, metric=primary, higher_is_better=_kinds(task)[primary][0])
