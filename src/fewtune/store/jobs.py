"""Fine-tuning jobs as their owners see them; what a worker does to them is in `queue`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, RowMapping, exists, func, insert, select, update

from fewtune.errors import QuotaError
from fewtune.store.identifiers import new_id
from fewtune.store.job_creation import Attempt, earlier_job, remember
from fewtune.store.job_events import tell
from fewtune.store.job_records import ENDED, EventRecord, JobCheckpoint, JobRecord, NewJob, job_record
from fewtune.store.rows import Page, as_record, page_of
from fewtune.store.service_database import reading, writing
from fewtune.store.service_schema import checkpoints, events, job_metadata, jobs


class Jobs:
    def __init__(self, engine: Engine, *, clock: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._clock = clock

    def create(
        self,
        new: NewJob,
        *,
        idempotency_key: str | None,
        body_sha256: str,
        retried: bool,
        most_waiting: int | None = None,
    ) -> JobRecord:
        """The job for this request: a new one, or the one that an earlier attempt of it made.

        One Idempotency-Key of one API key names one job for 24 hours; with another body it raises UsageError. Without
        one, a request that the client says it `retried` is taken for the last one of the same body within 10 minutes.
        `most_waiting` is how many jobs of the project may wait: beyond it a new one raises QuotaError.
        """
        now = self._clock()
        attempt = Attempt(
            key_id=new.key_id, idempotency_key=idempotency_key, body_sha256=body_sha256, retried=retried, at=now
        )
        with writing(self._engine) as connection:
            job = earlier_job(connection, attempt)
            if job is None:
                _demand_room(connection, new.project, now, most_waiting)
                job = _insert(connection, new, now)
                remember(connection, attempt, job)
            return job_record(connection.execute(select(jobs).where(jobs.c.id == job)).mappings().one(), now)

    def get(self, project: str, job_id: str) -> JobRecord | None:
        with reading(self._engine) as connection:
            row = _find(connection, project, job_id)
        return None if row is None else job_record(row, self._clock())

    def events(self, project: str, job_id: str, *, after: str | None = None, limit: int = 20) -> Page[EventRecord]:
        """The newest first; none for a job that is not the project's."""
        with reading(self._engine) as connection:
            wanted = (events.c.job == job_id, _belongs(events.c.job, project))
            rows, has_more = page_of(connection, events, *wanted, after=after, limit=limit)
        return Page(items=[as_record(EventRecord, row) for row in rows], has_more=has_more)

    def checkpoints(
        self, project: str, job_id: str, *, after: str | None = None, limit: int = 10
    ) -> Page[JobCheckpoint]:
        """The newest first; none for a job that is not the project's."""
        with reading(self._engine) as connection:
            wanted = (checkpoints.c.job == job_id, _belongs(checkpoints.c.job, project))
            rows, has_more = page_of(connection, checkpoints, *wanted, after=after, limit=limit)
        return Page(items=[as_record(JobCheckpoint, row) for row in rows], has_more=has_more)

    def cancel(self, project: str, job_id: str) -> JobRecord | None:
        """End a job that nobody holds, or tell the worker that holds it. One that has ended is left as it is."""
        return self._change(project, job_id, _cancel)

    def pause(self, project: str, job_id: str) -> JobRecord | None:
        """Nobody takes the job from now on; a worker that holds it is told to save and let it go."""
        return self._change(project, job_id, _pause)

    def resume(self, project: str, job_id: str) -> JobRecord | None:
        """Undo a pause; a job that waits for its moment (`not_before`) may be taken at once."""
        return self._change(project, job_id, _resume)

    def waiting(self, project: str | None = None) -> int:
        """Jobs that have not ended and that no worker holds, paused ones among them."""
        with reading(self._engine) as connection:
            return _waiting(connection, project, self._clock())

    def list(
        self, project: str, *, after: str | None = None, limit: int = 20, metadata: Mapping[str, str] | None = None
    ) -> Page[JobRecord]:
        """The newest first; with `metadata` only the jobs that have all of these pairs."""
        pairs = [_has_pair(key, value) for key, value in (metadata or {}).items()]
        with reading(self._engine) as connection:
            rows, has_more = page_of(connection, jobs, jobs.c.project == project, *pairs, after=after, limit=limit)
        now = self._clock()
        return Page(items=[job_record(row, now) for row in rows], has_more=has_more)

    def _change(
        self, project: str, job_id: str, change: Callable[[Connection, RowMapping, float], None]
    ) -> JobRecord | None:
        now = self._clock()
        with writing(self._engine) as connection:
            row = _find(connection, project, job_id)
            if row is None:
                return None
            if row["state"] not in ENDED:
                change(connection, row, now)
            changed = _find(connection, project, job_id)
        return None if changed is None else job_record(changed, now)


def end_cancelled(connection: Connection, job_id: str, now: float) -> None:
    """Whoever held it holds it no more."""
    ending = {"state": "cancelled", "stage": "done", "finished_at": int(now), "cancelling": True, "paused": False}
    _set(connection, job_id, **ending, fence=jobs.c.fence + 1, worker=None, lease_until=0.0, estimated_finish=None)
    tell(connection, job_id, "The job was cancelled.", at=now, once="cancelled")


def _cancel(connection: Connection, row: RowMapping, now: float) -> None:
    if row["lease_until"] <= now:
        end_cancelled(connection, row["id"], now)
    elif not row["cancelling"]:
        _set(connection, row["id"], cancelling=True)
        tell(connection, row["id"], "The job is being cancelled.", at=now)


def _pause(connection: Connection, row: RowMapping, now: float) -> None:
    if not row["paused"]:
        _set(connection, row["id"], paused=True)
        tell(connection, row["id"], "The job was paused.", at=now)


def _resume(connection: Connection, row: RowMapping, now: float) -> None:
    if row["paused"]:
        tell(connection, row["id"], "The job was resumed.", at=now)
    if row["paused"] or row["not_before"] > now:
        _set(connection, row["id"], paused=False, not_before=0.0)


def _set(connection: Connection, job_id: str, **values: Any) -> None:
    connection.execute(update(jobs).where(jobs.c.id == job_id).values(**values))


def _find(connection: Connection, project: str, job_id: str) -> RowMapping | None:
    found = select(jobs).where(jobs.c.id == job_id, jobs.c.project == project)
    return connection.execute(found).mappings().first()


def _belongs(column: ColumnElement[str], project: str) -> ColumnElement[bool]:
    return exists().where(jobs.c.id == column, jobs.c.project == project)


def _has_pair(key: str, value: str) -> ColumnElement[bool]:
    return exists().where(job_metadata.c.job == jobs.c.id, job_metadata.c.key == key, job_metadata.c.value == value)


def _waiting(connection: Connection, project: str | None, now: float) -> int:
    found = select(func.count()).select_from(jobs).where(jobs.c.state.not_in(ENDED), jobs.c.lease_until <= now)
    return connection.execute(found if project is None else found.where(jobs.c.project == project)).scalar_one()


def _demand_room(connection: Connection, project: str, now: float, most: int | None) -> None:
    if most is not None and _waiting(connection, project, now) >= most:
        raise QuotaError(f"The project has {most} waiting jobs, as many as it may.", fix="Wait for one, or cancel one.")


def _insert(connection: Connection, new: NewJob, now: float) -> str:
    job = new_id("ftjob")
    last = connection.execute(select(func.max(jobs.c.number))).scalar() or 0
    connection.execute(
        insert(jobs).values(
            **vars(new),
            id=job,
            number=last + 1,
            created_at=int(now),
            state="validating_files",
            stage="validate",
            paused=False,
            cancelling=False,
            not_before=0.0,
            result_files=[],
            attempts=0,
            fence=0,
            lease_until=0.0,
        )
    )
    for key, value in (new.metadata or {}).items():
        connection.execute(insert(job_metadata).values(job=job, key=key, value=value))
    tell(connection, job, f"Created fine-tuning job: {job}", at=now, once="created")
    if new.alias is not None:
        message = f"The model {new.alias} is not on this machine; {new.base} is tuned in its place."
        tell(connection, job, message, at=now, level="warn", once="alias")
    if new.integrations:
        message = "Nothing is sent to Weights & Biases from here; the integration is only kept with the job."
        tell(connection, job, message, at=now, level="warn", once="integrations")
    return job
