"""Which projects may use a tuned model or a checkpoint; only an administrator's key is asked about it."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Query, Request

from fewtune.service.auth import AdminOf, creator_of
from fewtune.service.errors import ServiceError, not_found
from fewtune.service.stores import Stores, StoresOf
from fewtune.service.wire.permissions import CreatePermissions, Permission, PermissionDeleted
from fewtune.service.wire.shared import After, Limit, Listed, listed
from fewtune.store.permissions import PermissionRecord

router = APIRouter(prefix="/fine_tuning/checkpoints/{checkpoint:path}/permissions", tags=["checkpoint permissions"])

Checkpoint = Annotated[str, Path(min_length=1, max_length=400, description="The model's name.")]


@router.post("", dependencies=[Depends(creator_of)])
def create_permissions(
    checkpoint: Checkpoint, asked: CreatePermissions, request: Request, caller: AdminOf, stores: StoresOf
) -> Listed[Permission]:
    """Let projects use the model; for one that may already, the permission that is there."""
    made = stores.permissions.create(caller.project, checkpoint, asked.project_ids)
    if made is None:
        raise _missing(checkpoint)
    request.scope["state"]["committed"] = True
    return listed([_told(record) for record in made])


@router.get("")
def list_permissions(
    checkpoint: Checkpoint,
    caller: AdminOf,
    stores: StoresOf,
    project_id: Annotated[str | None, Query(max_length=255)] = None,
    after: After = None,
    limit: Limit = 10,
    order: Annotated[Literal["ascending", "descending"], Query()] = "descending",
) -> Listed[Permission]:
    """Who may use the model."""
    _demand(checkpoint, caller.project, stores)
    page = stores.permissions.list(
        caller.project,
        checkpoint,
        project=project_id,
        after=after,
        limit=limit,
        order="asc" if order == "ascending" else "desc",
    )
    return listed([_told(record) for record in page.items], has_more=page.has_more)


@router.delete("/{permission_id}")
def delete_permission(
    checkpoint: Checkpoint, permission_id: str, caller: AdminOf, stores: StoresOf
) -> PermissionDeleted:
    """From now on the project may not use the model."""
    if not stores.permissions.delete(caller.project, checkpoint, permission_id):
        raise not_found("permission", permission_id, param="permission_id")
    return PermissionDeleted(id=permission_id, deleted=True)


def _demand(checkpoint: str, project: str, stores: Stores) -> None:
    record = stores.models.get(project, checkpoint)
    if record is None or record.project != project:
        raise _missing(checkpoint)


def _missing(checkpoint: str) -> ServiceError:
    return not_found("checkpoint", checkpoint, param="fine_tuned_model_checkpoint", code="model_not_found")


def _told(record: PermissionRecord) -> Permission:
    return Permission(id=record.id, created_at=record.created_at, project_id=record.project)
