"""The last two steps of a job: what tuning changed, and the model under its name."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

from fewtune.providers.contract import BASE, Finished, Provider, Request, Score
from fewtune.service.worker import telling
from fewtune.service.worker.archive import Archive
from fewtune.service.worker.copying import keep_model
from fewtune.service.worker.curve import told_metrics
from fewtune.service.worker.job import Job
from fewtune.service.worker.verdict import verdict
from fewtune.types import Example

_ROWS_AT_ONCE = 16
RESULTS = "fine-tune-results"
"""The purpose of a result file."""


def finish(archive: Archive, job: Job, provider: Provider, finished: Finished, adapter: Path | None) -> Iterator[None]:
    """Evaluate and register, in slices between which others sample and train."""
    archive.queue.stage(job.claim, "evaluate", trained_tokens=finished.usage.tokens)
    yield from _evaluate(archive, job, provider, finished.model)
    archive.queue.stage(job.claim, "register")
    yield
    keep_model(adapter, finished.model, archive.models.place(job.name))
    register(archive, job, finished.usage.tokens)


def register(archive: Archive, job: Job, tokens: int) -> None:
    """The model's folder is in its place: name it, write the result file, end."""
    record, queue = job.record, archive.queue
    archive.models.add(name=job.name, project=record.project, base=record.base, kind="tuned", job=record.id)
    file = _result_file(archive, job)
    queue.event(job.claim, "New fine-tuned model created", once="created-model")
    queue.event(job.claim, "The job has successfully completed", once="completed")
    queue.end(job.claim, "succeeded", fine_tuned_model=job.name, result_files=[file], trained_tokens=tokens)


def _evaluate(archive: Archive, job: Job, provider: Provider, model: str) -> Iterator[None]:
    if not job.validation or not provider.capabilities.can_score:
        return
    start = _start(archive, job)
    before = yield from _scores(provider, start or BASE, job.validation)
    after = yield from _scores(provider, model, job.validation)
    text, data = verdict(before, after, started_from=job.record.parent or "the base")
    archive.queue.event(job.claim, text, data=data, once="verdict")


def _start(archive: Archive, job: Job) -> str | None:
    record = job.record
    return None if record.parent is None else archive.keep_start(record.id, record.project, record.parent)


def _scores(provider: Provider, model: str, rows: Sequence[Example]) -> Generator[None, None, list[Score]]:
    found: list[Score] = []
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        requests = [_question(row) for row in rows[start : start + _ROWS_AT_ONCE]]
        replies = {reply.id: reply for reply in provider.sample(model, requests) if isinstance(reply, Score)}
        found += [replies[request.id] for request in requests]
        yield
    return found


def _question(row: Example) -> Request:
    """The last trained turn is the answer that is scored; what stands after it is none of it."""
    messages = row.messages
    if messages is not None:
        last = max(place for place, turn in enumerate(messages) if turn.trained)
        messages = messages[:last]
    return Request(id=row.row, prompt=row.prompt, messages=messages, tools=row.tools, score=row.completion)


def _result_file(archive: Archive, job: Job) -> str:
    """Found where it was written before a kill."""
    project, name = job.record.project, f"step_metrics-{job.id}.csv"
    there = (one.id for one in archive.files.list(project, purpose=RESULTS).items if one.filename == name)
    found = next(there, None)
    if found is not None:
        return found
    with archive.files.begin() as writing:
        writing.write(telling.result_file(told_metrics(archive, job)))
        return writing.commit(project=project, filename=name, purpose=RESULTS).id
