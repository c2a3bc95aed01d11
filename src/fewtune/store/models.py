"""Models that the service knows beside its bases: tuned ones, their checkpoints, and those of local runs."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import ColumnElement, Engine, RowMapping, delete, exists, insert, or_, select

from fewtune.errors import UsageError
from fewtune.store.identifiers import is_id
from fewtune.store.rows import as_record
from fewtune.store.service_database import reading, writing
from fewtune.store.service_schema import models, permissions

ModelKind = Literal["tuned", "checkpoint", "run"]


@dataclass(frozen=True, kw_only=True)
class ModelRecord:
    name: str
    key: str
    """Made here; the folder's name."""
    project: str
    base: str
    kind: ModelKind
    folder: Path
    """An adapter in PEFT format."""
    job: str | None
    step: int | None
    created_at: int


class Models:
    """`folder` is the service's; adapters are in its `models`, but those of local runs, which stay where they are."""

    def __init__(self, engine: Engine, folder: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._folder = folder / "models"
        self._clock = clock

    def place(self, name: str) -> Path:
        """Where the adapter of this name is to be put before `add`; the same for the same name, also after a kill."""
        return self._folder / _key(name)

    def add(
        self,
        *,
        name: str,
        project: str,
        base: str,
        kind: ModelKind,
        folder: Path | None = None,
        job: str | None = None,
        step: int | None = None,
    ) -> ModelRecord:
        """Make a model known; one of this name that the same project has already is left as it is.

        `folder` is for a local run's; every other model's is `place(name)`.
        Raises UsageError where the name is another project's.
        """
        if (kind == "run") != (folder is not None):
            raise ValueError("a folder is given for a local run's model, and for no other")
        values: dict[str, Any] = {
            "name": name,
            "key": _key(name),
            "project": project,
            "base": base,
            "kind": kind,
            "folder": None if folder is None else str(folder),
            "job": job,
            "step": step,
            "created_at": int(self._clock()),
        }
        with writing(self._engine) as connection:
            there = connection.execute(select(models).where(models.c.name == name)).mappings().first()
            if there is not None and there["project"] != project:
                raise UsageError(f"There is a model {name!r} already.", fix="Choose another suffix.")
            if there is None:
                connection.execute(insert(models).values(**values))
            row = connection.execute(select(models).where(models.c.name == name)).mappings().one()
        return self._record(row)

    def get(self, project: str, name: str) -> ModelRecord | None:
        """The project's own, or one that it was permitted to use."""
        with reading(self._engine) as connection:
            found = select(models).where(models.c.name == name, _visible(project))
            row = connection.execute(found).mappings().first()
        return None if row is None else self._record(row)

    def delete(self, project: str, name: str) -> bool:
        """Whether the project had it. The row and its permissions go first, then the folder; a local run's stays."""
        with writing(self._engine) as connection:
            own = (models.c.name == name, models.c.project == project)
            row = connection.execute(select(models).where(*own)).mappings().first()
            if row is None:
                return False
            connection.execute(delete(permissions).where(permissions.c.model == name))
            connection.execute(delete(models).where(*own))
        if row["kind"] != "run":
            self._remove(row["key"])
        return True

    def all(self) -> list[ModelRecord]:
        """Every project's: for the worker, which is asked by name."""
        with reading(self._engine) as connection:
            rows = connection.execute(select(models).order_by(models.c.number)).mappings().all()
        return [self._record(row) for row in rows]

    def sweep(self, *, older_than: float) -> int:
        """Remove folders that no model has and that nothing was put into for so many seconds; how many."""
        folders = [one for one in self._folder.iterdir() if one.is_dir()] if self._folder.is_dir() else []
        oldest = self._clock() - older_than
        known = {one.key for one in self.all()}
        remains = [one for one in folders if one.name not in known and one.stat().st_mtime < oldest]
        for folder in remains:
            shutil.rmtree(folder, ignore_errors=True)
        return len(remains)

    def list(self, project: str) -> list[ModelRecord]:
        """What `get` would find, the oldest first."""
        with reading(self._engine) as connection:
            found = select(models).where(_visible(project)).order_by(models.c.number)
            return [self._record(row) for row in connection.execute(found).mappings()]

    def _record(self, row: RowMapping) -> ModelRecord:
        folder = Path(row["folder"]) if row["kind"] == "run" else self._folder / row["key"]
        return as_record(ModelRecord, row, folder=folder)

    def _remove(self, key: str) -> None:
        # Checked although it was made here: nothing outside the folder can ever be meant.
        if is_id("model", key):
            shutil.rmtree(self._folder / key, ignore_errors=True)


def _key(name: str) -> str:
    return "model-" + hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:24]


def _visible(project: str) -> ColumnElement[bool]:
    granted = exists().where(permissions.c.model == models.c.name, permissions.c.project == project)
    return or_(models.c.project == project, granted)
