"""Files that are sent in parts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fewtune.service.wire.files import ExpiresAfter, FileObject, Purpose
from fewtune.service.wire.shared import Asked, Name, Text, Told, Whole

MOST_PARTS = 10_000


class CreateUpload(Asked):
    """A file that is announced."""

    filename: Name
    purpose: Purpose
    bytes: Annotated[Whole, Field(ge=0, le=2**43)]
    mime_type: Name
    expires_after: ExpiresAfter | None = None


class CompleteUpload(Asked):
    """The parts in their order."""

    part_ids: Annotated[list[Name], Field(max_length=MOST_PARTS)]
    md5: Annotated[Text, Field(max_length=64)] | None = None


class Upload(Told):
    """A file on its way."""

    id: str
    object: Literal["upload"] = "upload"
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: str
    status: Literal["pending", "completed", "cancelled", "expired"]
    file: FileObject | None


class UploadPart(Told):
    """A part that has arrived."""

    id: str
    object: Literal["upload.part"] = "upload.part"
    created_at: int
    upload_id: str
