"""Fine-tuning jobs, their events and checkpoints."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from fewtune.service.wire.shared import Asked, Metadata, Name, Real, Text, Told, Whole

Auto = Literal["auto"]
MethodName = Literal["supervised", "dpo", "reinforcement"]
Status = Literal["validating_files", "queued", "running", "succeeded", "failed", "cancelled"]

_BatchSize = Auto | Annotated[Whole, Field(ge=1, le=256)]
_Multiplier = Auto | Annotated[Real, Field(gt=0, le=10_000)]
_Epochs = Auto | Annotated[Whole, Field(ge=1, le=50)]
_Beta = Auto | Annotated[Real, Field(gt=0, le=2)]
_PromptWeight = Annotated[Real, Field(ge=0, le=1)]


class AskedHyperparameters(Asked):
    """Those of every method; `prompt_loss_weight` is from OpenAI's first API."""

    batch_size: _BatchSize | None = None
    learning_rate_multiplier: _Multiplier | None = None
    n_epochs: _Epochs | None = None
    beta: _Beta | None = None
    prompt_loss_weight: _PromptWeight | None = None


class AskedSettings(Asked):
    """The block of one method."""

    hyperparameters: AskedHyperparameters | None = None


class AskedMethod(Asked):
    """`type` alone decides; the blocks of other methods are passed over."""

    type: MethodName
    supervised: AskedSettings | None = None
    dpo: AskedSettings | None = None


class Wandb(Asked):
    """A project at Weights & Biases."""

    project: Name
    name: Name | None = None
    entity: Name | None = None
    tags: Annotated[list[Name], Field(max_length=50)] | None = None


class Integration(Asked):
    """Kept with the job; nothing is sent from here."""

    type: Literal["wandb"]
    wandb: Wandb


class CreateJob(AskedHyperparameters):
    """A job in any form that OpenAI has ever taken: hyperparameters in `method`, in a block, or side by side."""

    model: Name
    training_file: Name
    validation_file: Name | None = None
    method: AskedMethod | None = None
    hyperparameters: AskedHyperparameters | None = None
    suffix: Annotated[Text, Field(min_length=1, max_length=64)] | None = None
    seed: Annotated[Whole, Field(ge=0, le=2_147_483_647)] | None = None
    integrations: Annotated[list[Integration], Field(max_length=5)] | None = None
    metadata: Metadata | None = None


class Hyperparameters(Told):
    """What was asked for, or what was chosen where that was left open."""

    batch_size: Auto | int = "auto"
    learning_rate_multiplier: Auto | float = "auto"
    n_epochs: Auto | int = "auto"


class PreferenceHyperparameters(Hyperparameters):
    """Those of `dpo`."""

    beta: Auto | float = "auto"


class Supervised(Told):
    """The block of `supervised`."""

    hyperparameters: Hyperparameters


class Preference(Told):
    """The block of `dpo`."""

    hyperparameters: PreferenceHyperparameters


class SupervisedMethod(Told):
    """Learns to give the answers of the file."""

    type: Literal["supervised"] = "supervised"
    supervised: Supervised


class PreferenceMethod(Told):
    """Learns to prefer one answer to another."""

    type: Literal["dpo"] = "dpo"
    dpo: Preference


class JobError(Told):
    """Why a job failed."""

    code: str
    message: str
    param: str | None


class Job(Told):
    """A job. One that is paused is `queued`, since clients know no other word."""

    id: str
    object: Literal["fine_tuning.job"] = "fine_tuning.job"
    created_at: int
    finished_at: int | None
    model: str
    fine_tuned_model: str | None
    organization_id: str
    result_files: list[str]
    status: Status
    trained_tokens: int | None
    training_file: str
    validation_file: str | None
    hyperparameters: Hyperparameters
    seed: int
    error: JobError | None
    estimated_finish: int | None
    integrations: list[Integration] | None
    metadata: dict[str, str] | None
    method: SupervisedMethod | PreferenceMethod


class Event(Told):
    """Something that happened to a job."""

    id: str
    object: Literal["fine_tuning.job.event"] = "fine_tuning.job.event"
    created_at: int
    level: Literal["info", "warn", "error"]
    message: str
    type: Literal["message", "metrics"]
    data: dict[str, Any] | None


class CheckpointMetrics(Told):
    """Those that are known."""

    step: float | None = None
    train_loss: float | None = None
    train_mean_token_accuracy: float | None = None
    valid_loss: float | None = None
    valid_mean_token_accuracy: float | None = None
    full_valid_loss: float | None = None
    full_valid_mean_token_accuracy: float | None = None


class Checkpoint(Told):
    """The model as it was at the end of an epoch; it can be asked under its name."""

    id: str
    object: Literal["fine_tuning.job.checkpoint"] = "fine_tuning.job.checkpoint"
    created_at: int
    fine_tuned_model_checkpoint: str
    fine_tuning_job_id: str
    step_number: int
    metrics: CheckpointMetrics
