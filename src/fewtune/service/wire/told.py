"""How a row of the store is told to a client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fewtune.service.wire.jobs import (
    Checkpoint,
    CheckpointMetrics,
    Event,
    Hyperparameters,
    Integration,
    Job,
    JobError,
    Preference,
    PreferenceHyperparameters,
    PreferenceMethod,
    Supervised,
    SupervisedMethod,
)
from fewtune.store.job_records import EventRecord, JobCheckpoint, JobRecord


def job_told(record: JobRecord, organisation: str) -> Job:
    """Numbers stand where `auto` stood as soon as they are chosen."""
    values = {**record.hyperparameters, **(record.plan or {}).get("hyperparameters", {})}
    return Job(
        id=record.id,
        created_at=record.created_at,
        finished_at=record.finished_at,
        model=record.model,
        fine_tuned_model=record.fine_tuned_model,
        organization_id=organisation,
        result_files=record.result_files,
        status=record.state,
        trained_tokens=record.trained_tokens,
        training_file=record.training_file,
        validation_file=record.validation_file,
        hyperparameters=Hyperparameters(**_known(values, Hyperparameters)),
        seed=record.seed,
        error=JobError.model_validate(record.error) if record.error else None,
        estimated_finish=record.estimated_finish,
        integrations=[Integration.model_validate(one) for one in record.integrations or ()] or None,
        metadata=dict(record.metadata) if record.metadata else None,
        method=_method(record.method, values),
    )


def event_told(record: EventRecord) -> Event:
    """As it stands in lists and streams."""
    return Event(
        id=record.id,
        created_at=record.created_at,
        level=record.level,
        message=record.message,
        type=record.type,
        data=dict(record.data) if record.data is not None else None,
    )


def checkpoint_told(record: JobCheckpoint) -> Checkpoint:
    """With its metrics, as far as they were measured."""
    return Checkpoint(
        id=record.id,
        created_at=record.created_at,
        fine_tuned_model_checkpoint=record.model,
        fine_tuning_job_id=record.job,
        step_number=record.step,
        metrics=CheckpointMetrics.model_validate(record.metrics),
    )


def _method(name: str, values: Mapping[str, Any]) -> SupervisedMethod | PreferenceMethod:
    if name == "dpo":
        chosen = PreferenceHyperparameters(**_known(values, PreferenceHyperparameters))
        return PreferenceMethod(dpo=Preference(hyperparameters=chosen))
    return SupervisedMethod(supervised=Supervised(hyperparameters=Hyperparameters(**_known(values, Hyperparameters))))


def _known(values: Mapping[str, Any], kind: type[Hyperparameters]) -> dict[str, Any]:
    return {name: values[name] for name in kind.model_fields if values.get(name) is not None}
