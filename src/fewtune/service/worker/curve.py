"""What happens while a job trains, told to its owner: each thing once, however often the worker is killed."""

from __future__ import annotations

import time

from fewtune.providers.contract import Checkpoint, Message, Point
from fewtune.service.worker import telling
from fewtune.service.worker.archive import Archive
from fewtune.service.worker.copying import keep_model
from fewtune.service.worker.job import Job
from fewtune.service.worker.naming import checkpoint_name

_SECONDS_BETWEEN_ESTIMATES = 10.0


def tell_point(archive: Archive, job: Job, point: Point) -> None:
    """A point was told before if the process was killed after it: then only what is to come of it is kept."""
    if telling.is_told(point):
        data = telling.metrics(point)
        new = archive.queue.event(
            job.claim, telling.message(point), type="metrics", data=data, once=f"step-{point.step}"
        )
        if new:
            _note_progress(archive, job)
        job.reached = point.step
    job.points[point.step] = telling.metrics(point)
    job.points.pop(point.step - 1, None)
    _estimate(archive, job, point)


def _note_progress(archive: Archive, job: Job) -> None:
    """It gets somewhere: whatever ended workers before, or filled the disk, it was not this job's next step."""
    if job.deaths:
        job.deaths = 0
        archive.queue.stage(job.claim, "train", attempts=1)
    if job.rested:
        job.rested = False
        archive.queue.event(job.claim, "There is room on the disk again: the job has resumed.")


def tell_message(archive: Archive, job: Job, message: Message) -> None:
    archive.queue.event(job.claim, message.text, level="warn", once=f"said: {message.text}"[:200])


def keep_checkpoint(archive: Archive, job: Job, checkpoint: Checkpoint) -> None:
    """Its files, its name, its place in the job's list; only of the last epochs, as many as are kept."""
    kept = archive.settings.kept_checkpoints
    if kept is not None and checkpoint.epoch <= job.plan.epochs - kept:
        return
    record, step = job.record, checkpoint.step
    name = checkpoint_name(job.name, step)
    keep_model(checkpoint.folder, checkpoint.model, archive.models.place(name))
    archive.models.add(name=name, project=record.project, base=record.base, kind="checkpoint", job=record.id, step=step)
    metrics = job.points.get(step) or _told(archive, job, step)
    archive.queue.checkpoint(job.claim, step, name, {k: v for k, v in metrics.items() if k != "total_steps"})
    archive.queue.event(
        job.claim, f"Checkpoint created at step {step} with Snapshot ID: {name}", once=f"checkpoint-{step}"
    )


def _told(archive: Archive, job: Job, step: int) -> dict[str, float]:
    """Of a step that was told before this worker took the job."""
    return next((dict(data) for data in told_metrics(archive, job) if data["step"] == step), {"step": step})


def told_metrics(archive: Archive, job: Job) -> list[dict[str, float]]:
    """The data of all metrics events, from the store."""
    found: list[dict[str, float]] = []
    after: str | None = None
    while True:
        page = archive.jobs.events(job.record.project, job.id, after=after, limit=1000)
        found += [dict(event.data) for event in page.items if event.type == "metrics" and event.data is not None]
        if not page.has_more:
            return found
        after = page.items[-1].id


def _estimate(archive: Archive, job: Job, point: Point) -> None:
    left = job.seconds_left(point.step, point.steps)
    if left is None or time.monotonic() - job.estimated < _SECONDS_BETWEEN_ESTIMATES:
        return
    job.estimated = time.monotonic()
    archive.queue.stage(job.claim, "train", estimated_finish=int(time.time() + left))
