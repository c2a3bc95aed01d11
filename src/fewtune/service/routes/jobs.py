"""Jobs: a request writes one down, wakes the worker, and is answered; nothing is trained in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Header, Request, Response

from fewtune.service.aliases import ALIAS_HEADER
from fewtune.service.auth import CallerOf, CreatorOf
from fewtune.service.errors import ServiceError, not_found
from fewtune.service.event_stream import stream_events
from fewtune.service.metadata_filter import wanted_metadata
from fewtune.service.new_job import new_job
from fewtune.service.stores import Stores, StoresOf
from fewtune.service.wire.jobs import Checkpoint, CreateJob, Event, Job
from fewtune.service.wire.sampling import STREAMED
from fewtune.service.wire.shared import After, Limit, Listed, listed
from fewtune.service.wire.told import checkpoint_told, event_told, job_told
from fewtune.store.job_records import JobRecord
from fewtune.store.keys import Caller

router = APIRouter(prefix="/fine_tuning/jobs", tags=["fine-tuning jobs"])


@router.post("")
async def create_job(
    asked: CreateJob,
    request: Request,
    response: Response,
    caller: CreatorOf,
    stores: StoresOf,
    idempotency_key: Annotated[str | None, Header(max_length=255)] = None,
    retries: Annotated[str | None, Header(alias="x-stainless-retry-count", max_length=20)] = None,
) -> Job:
    """Queue a job. The same request, tried again, is the same job."""
    state = request.scope["state"]
    retried = bool(retries and retries.isascii() and retries.isdigit() and int(retries) > 0)

    def create() -> JobRecord:
        return stores.jobs.create(
            new_job(asked, caller, stores),
            idempotency_key=idempotency_key,
            body_sha256=state["body_sha256"],
            retried=retried,
            most_waiting=stores.limits.waiting_jobs,
        )

    record = await run_sync(create)
    state["committed"] = True
    await request.app.state.wake()
    return _told(record, record.id, response, stores)


@router.get("")
def list_jobs(
    request: Request, caller: CallerOf, stores: StoresOf, after: After = None, limit: Limit = 20
) -> Listed[Job]:
    """The project's jobs, the newest first; `metadata[KEY]=VALUE` keeps those that have it."""
    page = stores.jobs.list(caller.project, after=after, limit=limit, metadata=wanted_metadata(request))
    return listed([job_told(job, stores.settings.organisation) for job in page.items], has_more=page.has_more)


@router.get("/{job_id}")
def get_job(job_id: str, response: Response, caller: CallerOf, stores: StoresOf) -> Job:
    """One job as it is now."""
    return _told(stores.jobs.get(caller.project, job_id), job_id, response, stores)


@router.post("/{job_id}/cancel")
async def cancel_job(job_id: str, request: Request, response: Response, caller: CallerOf, stores: StoresOf) -> Job:
    """End a job; one that has ended stays as it is."""
    return await _change(stores.jobs.cancel, job_id, request, response, caller, stores)


@router.post("/{job_id}/pause")
async def pause_job(job_id: str, request: Request, response: Response, caller: CallerOf, stores: StoresOf) -> Job:
    """Let a job rest with everything saved."""
    return await _change(stores.jobs.pause, job_id, request, response, caller, stores)


@router.post("/{job_id}/resume")
async def resume_job(job_id: str, request: Request, response: Response, caller: CallerOf, stores: StoresOf) -> Job:
    """Let a paused job go on."""
    return await _change(stores.jobs.resume, job_id, request, response, caller, stores)


@router.get("/{job_id}/events", response_model=Listed[Event], responses=STREAMED)
async def list_events(
    job_id: str,
    request: Request,
    caller: CallerOf,
    stores: StoresOf,
    after: After = None,
    limit: Limit = 20,
    stream: bool = False,
) -> Any:
    """What happened, the newest first; with `stream` all of it in order, and what happens until the job ends."""
    await run_sync(_demand, job_id, caller, stores)
    if stream:
        return stream_events(stores, caller.project, job_id)
    page = await run_sync(lambda: stores.jobs.events(caller.project, job_id, after=after, limit=limit))
    return listed([event_told(event) for event in page.items], has_more=page.has_more)


@router.get("/{job_id}/checkpoints")
def list_checkpoints(
    job_id: str, caller: CallerOf, stores: StoresOf, after: After = None, limit: Limit = 10
) -> Listed[Checkpoint]:
    """The models that the job left on its way, the newest first."""
    _demand(job_id, caller, stores)
    page = stores.jobs.checkpoints(caller.project, job_id, after=after, limit=limit)
    return listed([checkpoint_told(one) for one in page.items], has_more=page.has_more)


def _demand(job_id: str, caller: Caller, stores: Stores) -> JobRecord:
    record = stores.jobs.get(caller.project, job_id)
    if record is None:
        raise _missing(job_id)
    return record


def _missing(job_id: str) -> ServiceError:
    return not_found("fine-tuning job", job_id, param="fine_tuning_job_id", code="fine_tune_not_found")


async def _change(
    change: Callable[[str, str], JobRecord | None],
    job_id: str,
    request: Request,
    response: Response,
    caller: Caller,
    stores: Stores,
) -> Job:
    record = await run_sync(change, caller.project, job_id)
    if record is not None:
        request.scope["state"]["committed"] = True
        await request.app.state.wake()
    return _told(record, job_id, response, stores)


def _told(record: JobRecord | None, job_id: str, response: Response, stores: Stores) -> Job:
    if record is None:
        raise _missing(job_id)
    if record.alias:
        response.headers[ALIAS_HEADER] = f"{record.alias}={record.base}"
    return job_told(record, stores.settings.organisation)
