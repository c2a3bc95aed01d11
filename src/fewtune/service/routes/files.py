"""Files: their bytes go straight to the disk, and are only named once they are all there."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Iterator, Mapping
from typing import Annotated, BinaryIO

from anyio.to_thread import run_sync
from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse

from fewtune.errors import QuotaError
from fewtune.service.auth import CallerOf, CreatorOf
from fewtune.service.errors import ServiceError, invalid, missing, not_found, too_large
from fewtune.service.forms import Form, described, read_form
from fewtune.service.limits import Limits
from fewtune.service.stores import Stores, StoresOf
from fewtune.service.wire.files import LONGEST_LIFE, PURPOSES, SHORTEST_LIFE, FileDeleted, FileObject
from fewtune.service.wire.shared import After, Limit, Listed, Order, listed
from fewtune.store.files import FileRecord, Writing
from fewtune.store.keys import Caller

router = APIRouter(prefix="/files", tags=["files"])

_PIECE = 3 * 2**16
"""Bytes that are given at once; whole triples, so that base64 has no padding in between."""
_FORM = described(
    {
        "file": {"type": "string", "format": "binary"},
        "purpose": {"type": "string", "enum": list(PURPOSES)},
        "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
        "expires_after[seconds]": {"type": "integer", "minimum": SHORTEST_LIFE, "maximum": LONGEST_LIFE},
    },
    required=("file", "purpose"),
)


@router.post("", openapi_extra=_FORM)
async def create_file(request: Request, caller: CreatorOf, stores: StoresOf) -> FileObject:
    """Keep a file."""
    with await run_sync(stores.files.begin) as writing:
        form = await _receive(request, stores.limits, writing)
        record = await run_sync(_commit, writing, form, caller.project, stores.limits)
    request.scope["state"]["committed"] = True
    return file_object(record)


@router.get("")
def list_files(
    caller: CallerOf,
    stores: StoresOf,
    purpose: Annotated[str | None, Query(max_length=64)] = None,
    after: After = None,
    limit: Limit = 10_000,
    order: Order = "desc",
) -> Listed[FileObject]:
    """The project's files."""
    page = stores.files.list(caller.project, purpose=purpose, after=after, limit=limit, order=order)
    return listed([file_object(record) for record in page.items], has_more=page.has_more)


@router.get("/{file_id}")
def get_file(file_id: str, caller: CallerOf, stores: StoresOf) -> FileObject:
    """What is known of a file."""
    return file_object(_found(file_id, caller, stores))


@router.delete("/{file_id}")
def delete_file(file_id: str, caller: CallerOf, stores: StoresOf) -> FileDeleted:
    """Remove a file; a job that has begun goes on with what it read."""
    if not stores.files.delete(caller.project, file_id):
        raise not_found("File object", file_id)
    return FileDeleted(id=file_id, deleted=True)


@router.get("/{file_id}/content", response_class=StreamingResponse)
def get_content(file_id: str, caller: CallerOf, stores: StoresOf) -> StreamingResponse:
    """The bytes of a file."""
    record = _found(file_id, caller, stores)
    as_base64 = stores.settings.base64_results and record.purpose == "fine-tune-results"
    size = 4 * -(-record.bytes // 3) if as_base64 else record.bytes
    headers = {"content-length": str(size), "content-disposition": f'attachment; filename="{record.id}"'}
    pieces = _pieces(_opened(file_id, record, stores))
    body = (base64.b64encode(piece) for piece in pieces) if as_base64 else pieces
    return StreamingResponse(body, headers=headers, media_type="application/octet-stream")


def file_object(record: FileRecord) -> FileObject:
    """As the client knows it."""
    return FileObject(
        id=record.id,
        bytes=record.bytes,
        created_at=record.created_at,
        expires_at=record.expires_at,
        filename=record.filename,
        purpose=record.purpose,
    )


def storage_full(error: QuotaError) -> ServiceError:
    """400, unlike other quotas: nothing is gained by sending the whole file again."""
    return invalid(str(error), param="file", code="storage_full")


def check_name(filename: str, purpose: str, *, param: str = "file") -> None:
    """OpenAI's rule for training files. Raises ServiceError."""
    if purpose == "fine-tune" and not filename.lower().endswith(".jsonl"):
        raise invalid(
            "Invalid file format for Fine-Tuning API. Must be .jsonl", param=param, code="invalid_file_format"
        )


async def _receive(request: Request, limits: Limits, writing: Writing) -> Form:
    async def take(piece: bytes) -> None:
        if writing.bytes + len(piece) > limits.file_bytes:
            raise too_large(f"The file is larger than {limits.file_bytes:,} bytes.")
        await run_sync(writing.write, piece)

    content_type = request.headers.get("content-type", "")
    return await read_form(
        request.stream(), content_type, file_field="file", field_bytes=limits.form_field_bytes, take=take
    )


def _commit(writing: Writing, form: Form, project: str, limits: Limits) -> FileRecord:
    filename, purpose = form.filename, form.fields.get("purpose")
    if filename is None:
        raise missing("file")
    if purpose is None:
        raise missing("purpose")
    if purpose not in PURPOSES:
        raise invalid(f"'purpose' must be one of: {', '.join(PURPOSES)}.", param="purpose")
    check_name(filename, purpose)
    expires_at = _expiry(form.fields)
    try:
        return writing.commit(
            project=project,
            filename=filename,
            purpose=purpose,
            expires_at=expires_at,
            most_bytes=limits.project_bytes,
        )
    except QuotaError as error:
        raise storage_full(error) from error


def _expiry(fields: Mapping[str, str]) -> int | None:
    """When the form wants the file to go."""
    anchor, seconds = (fields.get(f"expires_after[{key}]") for key in ("anchor", "seconds"))
    if anchor is None and seconds is None:
        return None
    if anchor != "created_at":
        raise invalid("'expires_after[anchor]' must be 'created_at'.", param="expires_after[anchor]")
    if not seconds or not re.fullmatch("[0-9]{1,7}", seconds) or not SHORTEST_LIFE <= int(seconds) <= LONGEST_LIFE:
        bounds = f"a whole number from {SHORTEST_LIFE} to {LONGEST_LIFE}"
        raise invalid(f"'expires_after[seconds]' must be {bounds}.", param="expires_after[seconds]")
    return int(time.time()) + int(seconds)


def _found(file_id: str, caller: Caller, stores: Stores) -> FileRecord:
    record = stores.files.get(caller.project, file_id)
    if record is None:
        raise not_found("File object", file_id)
    return record


def _opened(file_id: str, record: FileRecord, stores: Stores) -> BinaryIO:
    """Before the answer begins: a file that goes now is still given to its end."""
    try:
        return stores.files.path(record).open("rb")
    except FileNotFoundError as error:
        raise not_found("File object", file_id) from error


def _pieces(opened: BinaryIO) -> Iterator[bytes]:
    with opened as file:
        while piece := file.read(_PIECE):
            yield piece
