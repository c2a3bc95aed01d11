"""What happened to a job, written within the transaction that made it happen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, insert, select

from fewtune.store.identifiers import new_id
from fewtune.store.job_records import EventType, Level
from fewtune.store.service_schema import events


def tell(
    connection: Connection,
    job: str,
    message: str,
    *,
    at: float,
    level: Level = "info",
    type: EventType = "message",
    data: Mapping[str, Any] | None = None,
    once: str | None = None,
) -> bool:
    """Write an event; one that was told under the same `once` before is left as it is. Whether it was written."""
    if (
        once is not None
        and connection.execute(select(events.c.id).where(events.c.job == job, events.c.once == once)).first()
    ):
        return False
    connection.execute(
        insert(events).values(
            id=new_id("ftevent"),
            job=job,
            created_at=int(at),
            level=level,
            message=message,
            type=type,
            data=data,
            once=once,
        )
    )
    return True
