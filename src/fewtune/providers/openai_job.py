"""One job of the service as it is kept on this disk, and its news as our events; no HTTP here."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import cast
from uuid import uuid4

from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent
from openai.types.fine_tuning.jobs import FineTuningJobCheckpoint

from fewtune.providers.contract import Checkpoint, Event, Failure, Finished, Message, Point, Trial, Validation
from fewtune.types import Plan, Usage

_NOT_SENT = (
    "rank",
    "alpha",
    "prompt_loss_weight",
    "warmup_steps",
    "cooldown",
    "clip",
    "weight_decay",
    "gradient_accumulation",
    "adapt_top",
    "averaged_checkpoints",
    "preference_beta",
)


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What is kept of a trial: its job, and how much of the job's news was told."""

    marker: str
    epochs: int
    steps: int
    """Our own count until the service tells its own."""
    note: str | None
    """Told once, before anything else."""
    job: str | None = None
    """None while nobody knows whether the job was made."""
    last_event: str | None = None
    last_step: int = 0
    last_checkpoint: int = 0
    model: str | None = None
    tokens: int = 0
    failure: tuple[str, str] | None = None
    """Code and text."""

    @property
    def ended(self) -> bool:
        return self.model is not None or self.failure is not None


def planned(trial: Trial) -> Progress:
    """What to keep before the job is made; the marker is unlike any other."""
    plan, usual = trial.plan, Plan(learning_rate=1.0)
    changed = [f"{name}={getattr(plan, name):g}" for name in _NOT_SENT if getattr(plan, name) != getattr(usual, name)]
    note = f"This service sets for itself what the plan asks for: {', '.join(changed)}." if changed else None
    steps = plan.epochs * math.ceil(len(trial.train_rows) / plan.batch_size)
    return Progress(marker=uuid4().hex, epochs=plan.epochs, steps=steps, note=note)


def told(
    handle: str,
    progress: Progress,
    events: Iterable[FineTuningJobEvent],
    checkpoints: Iterable[FineTuningJobCheckpoint],
) -> Iterator[tuple[Progress, Event]]:
    """Each thing that is new, with what to keep once it was told."""
    if progress.note is not None:
        text, progress = progress.note, replace(progress, note=None)
        yield progress, Message(handle=handle, text=text)
    for event in events:
        progress = replace(progress, last_event=event.id)
        point = _point(handle, progress, event)
        if point is None:
            yield progress, Message(handle=handle, text=event.message)
        elif point.step > progress.last_step:
            progress = replace(progress, last_step=point.step, steps=point.steps)
            yield progress, point
    for checkpoint in checkpoints:
        step = checkpoint.step_number
        if step > progress.last_checkpoint:
            progress = replace(progress, last_checkpoint=step)
            epoch = max(1, round(step * progress.epochs / progress.steps))
            model = checkpoint.fine_tuned_model_checkpoint
            yield progress, Checkpoint(handle=handle, step=step, epoch=epoch, model=model, folder=None)


def _point(handle: str, progress: Progress, event: FineTuningJobEvent) -> Point | None:
    """None for an event that is to be read and not to be drawn."""
    data = _mapping(event.data)
    step = int(_number(data, "step") or 0)
    if event.type != "metrics" or not step:
        return None
    steps = int(_number(data, "total_steps") or progress.steps)
    return Point(
        handle=handle,
        step=step,
        steps=steps,
        epoch=step * progress.epochs / steps,
        train_loss=_number(data, "train_loss"),
        train_token_accuracy=_number(data, "train_mean_token_accuracy"),
        validation=_validation(data),
    )


def _validation(data: Mapping[str, object]) -> Validation | None:
    """The loss over all validation rows where there is one, else that of the step's few; nan where it is not told."""
    for kind in ("full_valid", "valid"):
        loss, accuracy = _number(data, f"{kind}_loss"), _number(data, f"{kind}_mean_token_accuracy")
        if loss is not None:
            accuracy = math.nan if accuracy is None else accuracy
            return Validation(loss=loss, token_accuracy=accuracy, sequence_accuracy=None, row_losses=None)
    return None


def _mapping(value: object) -> Mapping[str, object]:
    return cast(Mapping[str, object], value) if isinstance(value, Mapping) else {}


def _number(data: Mapping[str, object], name: str) -> float | None:
    value = data.get(name)
    return value if isinstance(value, int | float) else None


def has_ended(job: FineTuningJob) -> bool:
    return job.status in ("succeeded", "failed", "cancelled")


def end(progress: Progress, job: FineTuningJob) -> Progress:
    """Of a job that has ended: its model, or why there is none."""
    if job.status == "succeeded" and job.fine_tuned_model:
        return replace(progress, model=job.fine_tuned_model, tokens=job.trained_tokens or 0)
    if job.status == "succeeded":
        return replace(progress, failure=("no_model", f"The service names no model. (job {job.id})"))
    if job.status == "cancelled":
        return replace(progress, failure=("cancelled", f"Cancelled. (job {job.id})"))
    code = (job.error and job.error.code) or "failed"
    text = (job.error and job.error.message) or "The service gives no reason."
    return replace(progress, failure=(code, f"{text} (job {job.id})"))


def ending(handle: str, progress: Progress) -> Finished | Failure:
    if progress.model is not None:
        return Finished(handle=handle, model=progress.model, usage=Usage(tokens=progress.tokens))
    code, text = progress.failure or ("failed", "")
    return Failure(handle=handle, code=code, text=text, step=progress.last_step or None)
