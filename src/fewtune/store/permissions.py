"""Which other projects may use a tuned model or a checkpoint of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Engine, delete, insert, select

from fewtune.store.identifiers import new_id
from fewtune.store.rows import Order, Page, as_record, page_of
from fewtune.store.service_database import reading, writing
from fewtune.store.service_schema import models, permissions


@dataclass(frozen=True, kw_only=True)
class PermissionRecord:
    id: str
    model: str
    owner: str
    """The project that has the model."""
    project: str
    """The one that may use it."""
    created_at: int


class Permissions:
    """`owner` is the project of the admin key that asks: a model of another one is as if it were not there."""

    def __init__(self, engine: Engine, *, clock: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._clock = clock

    def create(self, owner: str, model: str, projects: Sequence[str]) -> list[PermissionRecord] | None:
        """One for each project, in their order; one that is there is given back. None where there is no such model."""
        with writing(self._engine) as connection:
            known = select(models.c.name).where(models.c.name == model, models.c.project == owner)
            if connection.execute(known).first() is None:
                return None
            there = select(permissions.c.project).where(permissions.c.model == model)
            granted = set(connection.execute(there).scalars())
            for project in dict.fromkeys(projects):
                if project not in granted:
                    values = {"id": new_id("cp"), "model": model, "owner": owner, "project": project}
                    connection.execute(insert(permissions).values(**values, created_at=int(self._clock())))
            found = select(permissions).where(permissions.c.model == model)
            by_project = {row["project"]: row for row in connection.execute(found).mappings()}
        return [as_record(PermissionRecord, by_project[project]) for project in dict.fromkeys(projects)]

    def delete(self, owner: str, model: str, permission_id: str) -> bool:
        """Whether it was there."""
        with writing(self._engine) as connection:
            own = (permissions.c.model == model, permissions.c.owner == owner, permissions.c.id == permission_id)
            return connection.execute(delete(permissions).where(*own)).rowcount > 0

    def list(
        self,
        owner: str,
        model: str,
        *,
        project: str | None = None,
        after: str | None = None,
        limit: int = 10,
        order: Order = "desc",
    ) -> Page[PermissionRecord]:
        wanted = [permissions.c.model == model, permissions.c.owner == owner]
        if project is not None:
            wanted.append(permissions.c.project == project)
        with reading(self._engine) as connection:
            rows, has_more = page_of(connection, permissions, *wanted, after=after, limit=limit, order=order)
        return Page(items=[as_record(PermissionRecord, row) for row in rows], has_more=has_more)
