"""All metrics in one registry: what each task is measured by, and what decides its verdict."""

from __future__ import annotations

from fewtune.errors import UsageError
from fewtune.evaluation.json_metrics import JSON
from fewtune.evaluation.label_metrics import LABELS
from fewtune.evaluation.metric import TASKS, AnswerMetric, Metric, Task
from fewtune.evaluation.text_metrics import LIKELIHOODS, TEXTS

PRIMARY: dict[Task, str] = {"text": "loss", "labels": "exact_match", "json": "exact_match"}
"""The metric that decides the verdict."""

METRICS: tuple[Metric, ...] = (*TEXTS, *LABELS, *JSON, *LIKELIHOODS)
"""One name may stand for several tasks, but only once for each."""


def every_metric(task: str) -> tuple[Metric, ...]:
    """The metrics of a task, in the order in which they are shown; raises UsageError for a task that is not known."""
    if task not in TASKS:
        raise UsageError(f"There is no task {task!r}.", fix=f"Choose one of: {', '.join(TASKS)}.")
    return tuple(metric for metric in METRICS if task in metric.tasks)


def for_task(task: str) -> tuple[AnswerMetric, ...]:
    """Those of them that measure one answer beside the expected one."""
    return tuple(metric for metric in every_metric(task) if isinstance(metric, AnswerMetric))
