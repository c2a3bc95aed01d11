"""What is known of a fine-tuning job. All moments are Unix seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from sqlalchemy import RowMapping

from fewtune.store.rows import as_record

State = Literal["validating_files", "queued", "running", "succeeded", "failed", "cancelled"]
Stage = Literal["validate", "prepare", "train", "evaluate", "register", "done"]
Level = Literal["info", "warn", "error"]
EventType = Literal["message", "metrics"]
STATES: tuple[State, ...] = get_args(State)
ENDED: tuple[State, ...] = ("succeeded", "failed", "cancelled")


@dataclass(frozen=True, kw_only=True)
class NewJob:
    """What was asked for."""

    project: str
    key_id: str
    model: str
    """As asked."""
    base: str
    parent: str | None = None
    """The tuned model to start from."""
    method: Literal["supervised", "dpo"]
    training_file: str
    validation_file: str | None = None
    hyperparameters: Mapping[str, Any]
    """As asked, `auto` included."""
    seed: int
    suffix: str | None = None
    metadata: Mapping[str, str] | None = None
    integrations: list[Any] | None = None
    alias: str | None = None
    """The name that was mapped to the base, where one was."""


@dataclass(frozen=True, kw_only=True)
class JobRecord(NewJob):
    id: str
    number: int
    """Rises by 1 from job to job."""
    created_at: int
    finished_at: int | None
    state: State
    stage: Stage
    """The step that is to be done next, or is being done."""
    paused: bool
    """Asked to rest; a worker that holds it may still be saving."""
    cancelling: bool
    not_before: float
    plan: Mapping[str, Any] | None
    trained_tokens: int | None
    fine_tuned_model: str | None
    result_files: list[str]
    error: Mapping[str, Any] | None
    """`code`, `message` and `param`."""
    estimated_finish: int | None
    attempts: int
    """How often a worker took it since one last gave it back: beyond 1, workers died over it."""


@dataclass(frozen=True, kw_only=True)
class EventRecord:
    id: str
    job: str
    created_at: int
    level: Level
    message: str
    type: EventType
    data: Mapping[str, Any] | None


@dataclass(frozen=True, kw_only=True)
class JobCheckpoint:
    id: str
    job: str
    created_at: int
    step: int
    model: str
    metrics: Mapping[str, Any]


def job_record(row: RowMapping, now: float) -> JobRecord:
    """A job as it stands at a moment: one that was told to rest, and that nobody holds, is in the queue."""
    rests = row["paused"] and row["lease_until"] <= now and row["state"] not in ENDED
    return as_record(JobRecord, row, state=cast(State, "queued" if rests else row["state"]))
