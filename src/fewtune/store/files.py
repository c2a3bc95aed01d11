"""Files that clients gave or that jobs made: bytes in a folder, everything else in the database."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import ColumnElement, Connection, Engine, delete, func, insert, or_, select

from fewtune.errors import QuotaError, UsageError
from fewtune.store.identifiers import is_id, new_id
from fewtune.store.partial_file import PartialWriting, remove_remains
from fewtune.store.rows import Order, Page, as_record, page_of
from fewtune.store.service_database import reading, writing
from fewtune.store.service_schema import files


@dataclass(frozen=True, kw_only=True)
class FileRecord:
    """What is known of a file. `filename` is text to show; it never becomes a path."""

    id: str
    project: str
    filename: str
    purpose: str
    bytes: int
    created_at: int
    expires_at: int | None
    """Unix seconds; from then on it is not found."""
    sha256: str
    status: str


class Writing(PartialWriting):
    """A file that is being given; as a context manager it is abandoned unless it was committed."""

    def __init__(self, owner: Files) -> None:
        super().__init__(owner.folder)
        self._owner = owner

    @property
    def bytes(self) -> int:
        return self._partial.bytes

    def commit(
        self,
        *,
        project: str,
        filename: str,
        purpose: str,
        expires_at: int | None = None,
        most_bytes: int | None = None,
        also: Callable[[Connection, FileRecord], None] | None = None,
    ) -> FileRecord:
        """Make the file known; once this returns it outlasts a power cut.

        `most_bytes` is what the project's files may have together: beyond it nothing is kept and QuotaError is raised.
        `also` writes more in the same transaction; what it raises undoes all.
        """
        partial = self._partial
        record = FileRecord(
            id=new_id("file"),
            project=project,
            filename=filename,
            purpose=purpose,
            bytes=partial.bytes,
            created_at=int(self._owner.clock()),
            expires_at=expires_at,
            sha256=partial.sha256,
            status="processed",
        )
        with self._landed(record.id), writing(self._owner.engine) as connection:
            record = self._owner.insert(connection, record, most_bytes)
            if also is not None:
                also(connection, record)
        return record


class Files:
    """`folder` is the service's; the bytes are in its `files`."""

    def __init__(self, engine: Engine, folder: Path, *, clock: Callable[[], float] = time.time) -> None:
        self.engine = engine
        self.folder = folder / "files"
        self.clock = clock

    def begin(self) -> Writing:
        return Writing(self)

    def insert(self, connection: Connection, record: FileRecord, most_bytes: int | None) -> FileRecord:
        """The record as it was stored: marks may stand in its name for what no database can hold."""
        if most_bytes is not None and _used(connection, record.project) + record.bytes > most_bytes:
            raise QuotaError(
                f"The project's files may have {most_bytes:,} bytes together, and this one does not fit.",
                fix="Delete files that are no longer needed.",
            )
        connection.execute(insert(files).values(**vars(record)))
        row = connection.execute(select(files).where(files.c.id == record.id)).mappings().one()
        return as_record(FileRecord, row)

    def get(self, project: str, file_id: str) -> FileRecord | None:
        with reading(self.engine) as connection:
            found = select(files).where(files.c.id == file_id, files.c.project == project, self._alive())
            row = connection.execute(found).mappings().first()
        return None if row is None else as_record(FileRecord, row)

    def path(self, record: FileRecord) -> Path:
        """Where its bytes are. Raises UsageError for an id that was not made here; no other text becomes a path."""
        return self._place(record.id)

    def delete(self, project: str, file_id: str) -> bool:
        """Whether it was there. The row goes first: a kill between leaves bytes that `sweep` removes."""
        with writing(self.engine) as connection:
            named = (files.c.id == file_id, files.c.project == project)
            gone = connection.execute(delete(files).where(*named)).rowcount > 0
        if gone and is_id("file", file_id):
            self._place(file_id).unlink(missing_ok=True)
        return gone

    def used_bytes(self, project: str) -> int:
        with reading(self.engine) as connection:
            return _used(connection, project)

    def sweep(self) -> int:
        """Remove files that have expired, and bytes that killed processes left; how many."""
        with writing(self.engine) as connection:
            connection.execute(delete(files).where(files.c.expires_at <= int(self.clock())))
            known = set(connection.execute(select(files.c.id)).scalars())
        return remove_remains(self.folder, lambda name: name in known or self._is_known(name))

    def list(
        self,
        project: str,
        *,
        purpose: str | None = None,
        after: str | None = None,
        limit: int = 10_000,
        order: Order = "desc",
    ) -> Page[FileRecord]:
        wanted = [files.c.project == project, self._alive()]
        if purpose is not None:
            wanted.append(files.c.purpose == purpose)
        with reading(self.engine) as connection:
            rows, has_more = page_of(connection, files, *wanted, after=after, limit=limit, order=order)
        return Page(items=[as_record(FileRecord, row) for row in rows], has_more=has_more)

    def _alive(self) -> ColumnElement[bool]:
        return or_(files.c.expires_at.is_(None), files.c.expires_at > int(self.clock()))

    def _place(self, file_id: str) -> Path:
        if not is_id("file", file_id):
            raise UsageError("A file's id is not one that the service makes.", fix="Upload the file again.")
        return self.folder / file_id

    def _is_known(self, name: str) -> bool:
        with reading(self.engine) as connection:
            return connection.execute(select(files.c.id).where(files.c.id == name)).first() is not None


def _used(connection: Connection, project: str) -> int:
    return int(connection.execute(select(func.sum(files.c.bytes)).where(files.c.project == project)).scalar() or 0)
