"""Files too large for one request: announced, sent in parts, put together."""

from __future__ import annotations

from anyio.to_thread import run_sync
from fastapi import APIRouter, Request

from fewtune.errors import QuotaError
from fewtune.service.auth import CallerOf, CreatorOf
from fewtune.service.errors import ServiceError, missing, not_found, too_large
from fewtune.service.forms import described, display_name, read_form
from fewtune.service.routes.files import check_name, file_object, storage_full
from fewtune.service.stores import Stores, StoresOf
from fewtune.service.wire.uploads import CompleteUpload, CreateUpload, Upload, UploadPart
from fewtune.store.uploads import PartWriting, UploadRecord

router = APIRouter(prefix="/uploads", tags=["uploads"])

_FORM = described({"data": {"type": "string", "format": "binary"}}, required=("data",))


@router.post("")
def create_upload(asked: CreateUpload, request: Request, caller: CreatorOf, stores: StoresOf) -> Upload:
    """Announce a file; there is an hour to send it."""
    filename = display_name(asked.filename.encode("utf-8", "replace"))
    check_name(filename, asked.purpose, param="filename")
    record = stores.uploads.create(
        project=caller.project,
        filename=filename,
        purpose=asked.purpose,
        bytes=asked.bytes,
        mime_type=asked.mime_type,
        file_lives_seconds=asked.expires_after.seconds if asked.expires_after else None,
    )
    request.scope["state"]["committed"] = True
    return _told(record)


@router.post("/{upload_id}/parts", openapi_extra=_FORM)
async def add_part(upload_id: str, request: Request, caller: CreatorOf, stores: StoresOf) -> UploadPart:
    """Send a part."""
    await run_sync(_demand, upload_id, caller.project, stores)
    with await run_sync(stores.uploads.add_part, caller.project, upload_id) as writing:
        await _receive(request, stores, writing)
        record = await run_sync(writing.commit)
    request.scope["state"]["committed"] = True
    return UploadPart(id=record.id, created_at=record.created_at, upload_id=upload_id)


@router.post("/{upload_id}/complete")
def complete_upload(
    upload_id: str, asked: CompleteUpload, request: Request, caller: CallerOf, stores: StoresOf
) -> Upload:
    """Put the parts together to a file."""
    _demand(upload_id, caller.project, stores)
    try:
        record = stores.uploads.complete(
            caller.project, upload_id, asked.part_ids, md5=asked.md5, most_bytes=stores.limits.project_bytes
        )
    except QuotaError as error:
        raise storage_full(error) from error
    request.scope["state"]["committed"] = True
    return _told(record)


@router.post("/{upload_id}/cancel")
def cancel_upload(upload_id: str, request: Request, caller: CallerOf, stores: StoresOf) -> Upload:
    """Forget the parts."""
    record = stores.uploads.cancel(caller.project, upload_id)
    if record is None:
        raise _missing(upload_id)
    request.scope["state"]["committed"] = True
    return _told(record)


async def _receive(request: Request, stores: Stores, writing: PartWriting) -> None:
    limits = stores.limits
    seen = 0

    async def take(piece: bytes) -> None:
        nonlocal seen
        seen += len(piece)
        if seen > limits.part_bytes:
            raise too_large(f"The part is larger than {limits.part_bytes:,} bytes.")
        await run_sync(writing.write, piece)

    content_type = request.headers.get("content-type", "")
    form = await read_form(
        request.stream(), content_type, file_field="data", field_bytes=limits.form_field_bytes, take=take
    )
    if form.filename is None:
        raise missing("data")


def _demand(upload_id: str, project: str, stores: Stores) -> None:
    if stores.uploads.get(project, upload_id) is None:
        raise _missing(upload_id)


def _missing(upload_id: str) -> ServiceError:
    return not_found("upload", upload_id, param="upload_id")


def _told(record: UploadRecord) -> Upload:
    return Upload(
        id=record.id,
        bytes=record.bytes,
        created_at=record.created_at,
        expires_at=record.expires_at,
        filename=record.filename,
        purpose=record.purpose,
        status=record.status,
        file=file_object(record.file) if record.file else None,
    )
