"""What workers do to jobs: take one for a while, tell how it goes, end it. A late worker changes nothing."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, Engine, RowMapping, insert, select, update

from fewtune.errors import LostLease
from fewtune.store.identifiers import new_id
from fewtune.store.job_events import tell
from fewtune.store.job_records import ENDED, STATES, EventType, JobRecord, Level, Stage, State, job_record
from fewtune.store.jobs import end_cancelled
from fewtune.store.service_database import reading, writing
from fewtune.store.service_schema import checkpoints, jobs

Wish = Literal["go", "cancel", "pause", "lost"]
_TOLD_BY_STAGE = frozenset(
    {"state", "plan", "trained_tokens", "estimated_finish", "fine_tuned_model", "result_files", "attempts"}
)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A job that a worker holds; `fence` tells this hold from every other one of the job."""

    job: str
    fence: int
    worker: str


class Queue:
    """Every write is refused with LostLease where another worker holds the job or it has ended.

    A lease that ran out while nobody else took the job is still good, and `renew` makes it live again.
    """

    def __init__(self, engine: Engine, *, clock: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._clock = clock

    def claim(self, worker: str, *, seconds: float, limit: int = 1) -> list[Claim]:
        """Take up to `limit` jobs for so long: of the projects with the fewest jobs in hand, the oldest first.

        A job whose worker died is taken like any other, once its lease has run out; one that was to be cancelled ends.
        """
        now = self._clock()
        with writing(self._engine) as connection:
            _end_abandoned(connection, now)
            chosen = _choose(connection, now, limit)
            return [_take(connection, row, worker, now + seconds) for row in chosen]

    def renew(self, claims: Sequence[Claim], *, seconds: float) -> dict[str, Wish]:
        """Hold them for so long from now; by job's id, what its owner wishes. A lost one must not be gone on with."""
        if not claims:
            return {}
        until = self._clock() + seconds
        with writing(self._engine) as connection:
            return {claim.job: _renew(connection, claim, until) for claim in claims}

    def event(
        self,
        claim: Claim,
        message: str,
        *,
        level: Level = "info",
        type: EventType = "message",
        data: Mapping[str, Any] | None = None,
        once: str | None = None,
    ) -> bool:
        """Tell the owner; under a name in `once` it is told once, however often the job is taken up again.

        Whether it was told now.
        """
        with self._held(claim) as connection:
            at = self._clock()
            return tell(connection, claim.job, message, at=at, level=level, type=type, data=data, once=once)

    def stage(self, claim: Claim, stage: Stage, **values: Any) -> None:
        """The step that comes next, with `state`, `plan`, `trained_tokens`, `estimated_finish`, `fine_tuned_model`,
        `result_files` or `attempts` as they now are."""
        unknown = values.keys() - _TOLD_BY_STAGE
        if unknown or values.get("state", "running") not in STATES:
            raise ValueError(f"a stage does not tell {sorted(unknown) or values['state']}")
        with self._held(claim) as connection:
            connection.execute(update(jobs).where(jobs.c.id == claim.job).values(stage=stage, **values))

    def checkpoint(self, claim: Claim, step: int, model: str, metrics: Mapping[str, Any]) -> None:
        """One of a step that is there already is left as it is."""
        with self._held(claim) as connection:
            there = select(checkpoints.c.id).where(checkpoints.c.job == claim.job, checkpoints.c.step == step)
            if connection.execute(there).first():
                return
            values = {"id": new_id("ftckpt"), "job": claim.job, "created_at": int(self._clock())}
            connection.execute(insert(checkpoints).values(**values, step=step, model=model, metrics=metrics))

    def end(
        self,
        claim: Claim,
        state: State,
        *,
        error: Mapping[str, Any] | None = None,
        fine_tuned_model: str | None = None,
        result_files: Sequence[str] = (),
        trained_tokens: int | None = None,
    ) -> None:
        """The job is `succeeded`, `failed` or `cancelled`, and nobody's from now on."""
        if state not in ENDED:
            raise ValueError(f"a job does not end as {state}")
        with self._held(claim) as connection:
            now = self._clock()
            if state == "cancelled":
                end_cancelled(connection, claim.job, now)
                told: dict[str, Any] = {}
            else:
                told = {"state": state, "stage": "done", "finished_at": int(now), "paused": False, **_FREE}
            told |= {"error": error, "fine_tuned_model": fine_tuned_model, "result_files": list(result_files)}
            if trained_tokens is not None:
                told["trained_tokens"] = trained_tokens
            connection.execute(update(jobs).where(jobs.c.id == claim.job).values(**told, estimated_finish=None))

    def release(self, claim: Claim, *, not_before: float = 0.0, paused: bool = False) -> None:
        """Give the job back, to be taken from `not_before` (Unix seconds) on. One that was to be cancelled ends.

        After the owner's wish to pause, release it plainly: the pause is written already, and a resume that came
        meanwhile is not lost. `paused` is for a worker that pauses the job by itself.
        """
        with self._held(claim) as connection:
            row = _row(connection, claim)
            if row["cancelling"]:
                end_cancelled(connection, claim.job, self._clock())
                return
            state = "queued" if row["state"] == "running" else row["state"]
            paused = row["paused"] or paused
            # A worker that can give it back was not ended by it.
            values = {"state": state, "paused": paused, "not_before": not_before, "attempts": 0, **_FREE}
            connection.execute(update(jobs).where(jobs.c.id == claim.job).values(**values))

    def job(self, claim: Claim) -> JobRecord:
        with reading(self._engine) as connection:
            return job_record(_row(connection, claim), self._clock())

    def ended(self, job_ids: Collection[str]) -> set[str]:
        """Those of these jobs that have ended."""
        with reading(self._engine) as connection:
            found = select(jobs.c.id).where(jobs.c.id.in_(job_ids), jobs.c.state.in_(ENDED))
            return set(connection.execute(found).scalars())

    @contextmanager
    def _held(self, claim: Claim) -> Generator[Connection]:
        """A transaction in which the claim is known to be good."""
        with writing(self._engine) as connection:
            _row(connection, claim)
            yield connection


_FREE: dict[str, Any] = {"fence": jobs.c.fence + 1, "worker": None, "lease_until": 0.0}


def _row(connection: Connection, claim: Claim) -> RowMapping:
    held = select(jobs).where(jobs.c.id == claim.job, jobs.c.fence == claim.fence)
    row = connection.execute(held).mappings().first()
    if row is None:
        raise LostLease(f"The job {claim.job} is no longer held by {claim.worker}.", fix="Leave it: nothing is lost.")
    return row


def _end_abandoned(connection: Connection, now: float) -> None:
    left = select(jobs.c.id).where(jobs.c.cancelling, jobs.c.state.not_in(ENDED), jobs.c.lease_until <= now)
    for job in connection.execute(left).scalars().all():
        end_cancelled(connection, job, now)


def _choose(connection: Connection, now: float, limit: int) -> list[RowMapping]:
    unended = select(jobs.c.id, jobs.c.project, jobs.c.paused, jobs.c.not_before, jobs.c.lease_until, jobs.c.fence)
    rows = connection.execute(unended.where(jobs.c.state.not_in(ENDED)).order_by(jobs.c.number)).mappings().all()
    in_hand = Counter(row["project"] for row in rows if row["lease_until"] > now)
    waiting = [row for row in rows if row["lease_until"] <= now and not row["paused"] and row["not_before"] <= now]
    chosen: list[RowMapping] = []
    while waiting and len(chosen) < limit:
        # The first of equals is the oldest.
        row = min(waiting, key=lambda one: in_hand[one["project"]])
        waiting.remove(row)
        in_hand[row["project"]] += 1
        chosen.append(row)
    return chosen


def _take(connection: Connection, row: RowMapping, worker: str, until: float) -> Claim:
    claim = Claim(job=row["id"], fence=row["fence"] + 1, worker=worker)
    taken = {"fence": claim.fence, "worker": worker, "lease_until": until, "attempts": jobs.c.attempts + 1}
    connection.execute(update(jobs).where(jobs.c.id == claim.job).values(**taken))
    return claim


def _renew(connection: Connection, claim: Claim, until: float) -> Wish:
    held = (jobs.c.id == claim.job, jobs.c.fence == claim.fence)
    if not connection.execute(update(jobs).where(*held).values(lease_until=until)).rowcount:
        return "lost"
    row = connection.execute(select(jobs.c.cancelling, jobs.c.paused).where(*held)).one()
    if row.cancelling:
        return "cancel"
    return "pause" if row.paused else "go"
