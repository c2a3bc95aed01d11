"""What the held-out rows are measured by: the task's metrics, the shape of its JSON, and the user's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fewtune.data.task import Task
from fewtune.errors import UsageError
from fewtune.evaluation.json_metrics import schema_metric
from fewtune.evaluation.json_schema import infer_schema, read_schema, validator
from fewtune.evaluation.metric import Metric
from fewtune.evaluation.metrics import PRIMARY, every_metric
from fewtune.evaluation.own_metric import load, own_metric
from fewtune.experiment.preparation import Prepared
from fewtune.experiment.settings import RunSettings
from fewtune.types import Example


@dataclass(frozen=True, kw_only=True)
class Measures:
    task: Task
    asked: bool
    """Whether the user named the task."""
    metrics: tuple[Metric, ...]
    """In the order in which they are shown, the user's own first."""
    primary: str
    """The metric that is to decide."""


def measures(settings: RunSettings, prepared: Prepared, given: Mapping[str, object]) -> Measures:
    """Everything that the run will be measured by; `given` holds metrics that came as functions, by how they are named.

    Raises UsageError for a metric or a schema that cannot be used, so that it is noticed before anything is trained.
    """
    task = prepared.task
    metrics = _with_own(_known(settings, task, prepared.split.train), settings.metrics, given)
    primary = settings.primary or PRIMARY[task.kind]
    deciding = next((metric for metric in metrics if metric.name == primary), None)
    if deciding is None:
        names = ", ".join(metric.name for metric in metrics)
        raise UsageError(f"There is no metric {primary!r} for {task.kind}.", where="--primary", fix=f"Choose: {names}.")
    if not deciding.compared:
        names = ", ".join(metric.name for metric in metrics if metric.compared)
        raise UsageError(f"{primary} is not compared, so it cannot decide.", where="--primary", fix=f"Choose: {names}.")
    return Measures(task=task, asked=settings.task is not None, metrics=metrics, primary=primary)


def _known(settings: RunSettings, task: Task, train: Sequence[Example]) -> tuple[Metric, ...]:
    metrics = every_metric(task.kind)
    if task.kind != "json":
        if settings.json_schema:
            raise UsageError(
                f"A JSON schema was given, but the task is {task.kind}.",
                where="--json-schema",
                fix="Leave it out, or say --task json.",
            )
        return metrics
    if settings.json_schema:
        schema, origin = read_schema(Path(settings.json_schema)), "the JSON schema that was given"
    else:
        schema, origin = infer_schema([example.completion for example in train]), "the training answers"
    return metrics if schema is None else (*metrics, schema_metric(validator(schema), origin))


def _with_own(known: Sequence[Metric], specs: Sequence[str], given: Mapping[str, object]) -> tuple[Metric, ...]:
    own = [own_metric(given[spec] if spec in given else load(spec), spec) for spec in specs]
    names = {metric.name for metric in known}
    for metric, spec in zip(own, specs, strict=True):
        if metric.name in names:
            raise UsageError(
                f"There is a metric {metric.name!r} already.",
                where=f"--metric {spec}",
                fix="Rename the function, or name it otherwise with @fewtune.metric(name=...).",
            )
        names.add(metric.name)
    return (*own, *known)
