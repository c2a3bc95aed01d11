"""A job's events as they happen, in the form of server-sent events."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
from anyio.to_thread import run_sync
from fastapi.responses import StreamingResponse

from fewtune.service.errors import too_many
from fewtune.service.stores import Stores
from fewtune.service.wire.told import event_told
from fewtune.store.job_records import ENDED, EventRecord

_SECONDS_BETWEEN_LOOKS = 0.5
_PAGE = 100


def stream_events(stores: Stores, project: str, job: str) -> StreamingResponse:
    """All events in order, then new ones until the job has ended. Raises ServiceError where too many are open."""
    if len(stores.open_streams) >= stores.limits.event_streams:
        raise too_many("Too many streams of events are open.", seconds=5)
    return StreamingResponse(_lines(stores, project, job), media_type="text/event-stream")


async def _lines(stores: Stores, project: str, job: str) -> AsyncIterator[str]:
    place = object()
    stores.open_streams.add(place)
    try:
        last: str | None = None
        while True:
            # Asked before the events: what comes with the end is then among them.
            record = await run_sync(stores.jobs.get, project, job)
            for event in await run_sync(_since, stores, project, job, last):
                last = event.id
                yield f"data: {event_told(event).model_dump_json()}\n\n"
            if record is None or record.state in ENDED:
                yield "data: [DONE]\n\n"
                return
            await anyio.sleep(_SECONDS_BETWEEN_LOOKS)
    finally:
        stores.open_streams.discard(place)


def _since(stores: Stores, project: str, job: str, last: str | None) -> list[EventRecord]:
    """The oldest first."""
    found: list[EventRecord] = []
    after: str | None = None
    while True:
        page = stores.jobs.events(project, job, after=after, limit=_PAGE)
        for event in page.items:
            if event.id == last:
                return found[::-1]
            found.append(event)
        if not page.has_more:
            return found[::-1]
        after = page.items[-1].id
