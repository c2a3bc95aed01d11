"""What a worker reads and writes: the store's parts, and the folders of the service."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine

from fewtune.providers.contract import BASE
from fewtune.service.settings import ServiceSettings
from fewtune.service.worker.copying import copy_whole
from fewtune.store.files import Files
from fewtune.store.jobs import Jobs
from fewtune.store.models import Models
from fewtune.store.queue import Queue
from fewtune.store.service_database import open_service_database

_START = "start:"
_SECONDS_BETWEEN_LOOKS = 1.0


@dataclass(frozen=True, kw_only=True)
class Archive:
    settings: ServiceSettings
    queue: Queue
    jobs: Jobs
    files: Files
    models: Models

    def job_folder(self, job: str) -> Path:
        """Of what only this job needs, until it ends."""
        return self.settings.folder / "jobs" / job

    def workspace(self, base: str) -> Path:
        """A provider's own folder."""
        return self.settings.folder / "work" / slug(base)

    def keep_start(self, job: str, project: str, parent: str) -> str | None:
        """The name by which a job starts from this model even when that is deleted meanwhile; None: it is gone."""
        kept = self.job_folder(job) / "start"
        if not kept.is_dir():
            found = self.models.get(project, parent)
            if found is None or not found.folder.is_dir():
                return None
            copy_whole(found.folder, kept)
        return _START + job

    def forget(self, job: str, base: str) -> None:
        """Remove what was kept so that the job could go on."""
        shutil.rmtree(self.job_folder(job), ignore_errors=True)
        shutil.rmtree(self.workspace(base) / job, ignore_errors=True)


class Adapters(Mapping[str, Path]):
    """The folder of every tuned model by its name, as it stands in the moment that it is asked for."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._runs: dict[str, Path] = {}
        self._looked = -_SECONDS_BETWEEN_LOOKS

    def __getitem__(self, name: str) -> Path:
        if name.startswith(_START):
            return _there(self._archive.job_folder(name.removeprefix(_START)) / "start", name)
        folder = self._archive.models.place(name)
        return folder if folder.is_dir() else _there(self._run(name), name)

    def _run(self, name: str) -> Path | None:
        """Of a local run's model, whose folder is its own; nothing else is looked for in the database."""
        now = time.monotonic()
        if name != BASE and now - self._looked >= _SECONDS_BETWEEN_LOOKS:
            self._looked = now
            self._runs = {one.name: one.folder for one in self._archive.models.all() if one.kind == "run"}
        return self._runs.get(name)

    def __iter__(self) -> Iterator[str]:
        return (one.name for one in self._archive.models.all())

    def __len__(self) -> int:
        return len(self._archive.models.all())


def open_archive(settings: ServiceSettings) -> Archive:
    """Raises UsageError or ProviderError where the database cannot be used."""
    engine: Engine = open_service_database(settings.store)
    return Archive(
        settings=settings,
        queue=Queue(engine),
        jobs=Jobs(engine),
        files=Files(engine, settings.folder),
        models=Models(engine, settings.folder),
    )


def slug(base: str) -> str:
    """A folder's name for a base; two that differ in signs alone still get two."""
    plain = "".join(c if c.isalnum() else "-" for c in base.lower()).strip("-")
    return f"{plain[-40:]}-{hashlib.sha256(base.encode()).hexdigest()[:8]}"


def _there(folder: Path | None, name: str) -> Path:
    if folder is None or not folder.is_dir():
        raise KeyError(name)
    return folder
