"""Files."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field

from fewtune.service.wire.shared import Asked, Told, Whole

Purpose = Literal["assistants", "batch", "fine-tune", "vision", "user_data", "evals"]
"""Those that a client may give; fewtune itself makes `fine-tune-results`."""
PURPOSES: tuple[str, ...] = get_args(Purpose)

SHORTEST_LIFE, LONGEST_LIFE = 3600, 2_592_000
"""Seconds after which a file may go by itself."""


class ExpiresAfter(Asked):
    """When a file goes by itself."""

    anchor: Literal["created_at"]
    seconds: Annotated[Whole, Field(ge=SHORTEST_LIFE, le=LONGEST_LIFE)]


class FileObject(Told):
    """A file that is kept."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: int | None = None
    filename: str
    purpose: str
    status: Literal["uploaded", "processed", "error"] = "processed"
    status_details: str | None = None


class FileDeleted(Told):
    """A file that is gone."""

    id: str
    object: Literal["file"] = "file"
    deleted: bool
