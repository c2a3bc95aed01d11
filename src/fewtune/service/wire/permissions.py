"""Permissions to use a checkpoint in another project."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fewtune.service.wire.shared import Asked, Name, Told


class CreatePermissions(Asked):
    """The projects that may use it."""

    project_ids: Annotated[list[Name], Field(min_length=1, max_length=100)]


class Permission(Told):
    """That one project may use it."""

    id: str
    object: Literal["checkpoint.permission"] = "checkpoint.permission"
    created_at: int
    project_id: str


class PermissionDeleted(Told):
    """A permission that is gone."""

    id: str
    object: Literal["checkpoint.permission"] = "checkpoint.permission"
    deleted: bool
