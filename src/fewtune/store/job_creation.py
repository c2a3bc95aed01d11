"""One job for one wish: repeated requests to create a job are told apart from new ones."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, delete, insert, select, update

from fewtune.errors import UsageError
from fewtune.store.service_schema import creations

_KEY_SECONDS = 24 * 3600
_RETRY_SECONDS = 600
"""The official client's longest wait for an answer."""
_OVERTAKEN_SECONDS = 60
"""How late a first attempt may come after the retry that overtook it."""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """A request to create a job, as far as it tells whether it was made before."""

    key_id: str
    idempotency_key: str | None
    body_sha256: str
    retried: bool
    """The client says that it has sent this before."""
    at: float


def earlier_job(connection: Connection, attempt: Attempt) -> str | None:
    """The job that an earlier attempt of the same wish made.

    Raises UsageError for an Idempotency-Key that came with another body.
    """
    _forget_old(connection, attempt.at)
    if attempt.idempotency_key is not None:
        return _of_key(connection, attempt)
    return _of_body(connection, attempt)


def remember(connection: Connection, attempt: Attempt, job: str) -> None:
    """A unique constraint stands behind this: one Idempotency-Key of one caller never names two jobs."""
    connection.execute(
        insert(creations).values(
            key_id=attempt.key_id,
            idempotency_key=attempt.idempotency_key,
            body_sha256=attempt.body_sha256,
            job=job,
            created_at=attempt.at,
            first_is_missing=attempt.retried,
        )
    )


def _of_key(connection: Connection, attempt: Attempt) -> str | None:
    named = (creations.c.key_id == attempt.key_id, creations.c.idempotency_key == attempt.idempotency_key)
    row = connection.execute(select(creations.c.job, creations.c.body_sha256).where(*named)).first()
    if row is None:
        return None
    if row.body_sha256 != attempt.body_sha256:
        raise UsageError("This Idempotency-Key was used for another request.", fix="Send a new key with a new request.")
    return row.job


def _of_body(connection: Connection, attempt: Attempt) -> str | None:
    if attempt.retried:
        recent = creations.c.created_at > attempt.at - _RETRY_SECONDS
        found = _newest(connection, attempt, recent)
        return None if found is None else found[1]
    # A retry may overtake the attempt that it repeats, where that one was held up on its way.
    recent = creations.c.created_at > attempt.at - _OVERTAKEN_SECONDS
    found = _newest(connection, attempt, recent & creations.c.first_is_missing)
    if found is None:
        return None
    connection.execute(update(creations).where(creations.c.number == found[0]).values(first_is_missing=False))
    return found[1]


def _newest(connection: Connection, attempt: Attempt, also: ColumnElement[bool]) -> tuple[int, str] | None:
    named = (
        creations.c.key_id == attempt.key_id,
        creations.c.body_sha256 == attempt.body_sha256,
        creations.c.idempotency_key.is_(None),
    )
    newest = select(creations.c.number, creations.c.job).where(*named, also).order_by(creations.c.number.desc())
    row = connection.execute(newest).first()
    return None if row is None else (row.number, row.job)


def _forget_old(connection: Connection, now: float) -> None:
    connection.execute(delete(creations).where(creations.c.created_at <= now - _KEY_SECONDS))
