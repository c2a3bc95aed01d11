"""Files too large for one request: given in parts, put together in the order that the client names at the end."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from sqlalchemy import Connection, Engine, RowMapping, delete, func, insert, or_, select, update

from fewtune.errors import UsageError
from fewtune.store.files import FileRecord, Files
from fewtune.store.identifiers import is_id, new_id
from fewtune.store.partial_file import PartialWriting, remove_remains
from fewtune.store.rows import as_record
from fewtune.store.service_database import reading, writing
from fewtune.store.service_schema import files, parts, uploads

UploadStatus = Literal["pending", "completed", "cancelled", "expired"]
_MIB = 1024 * 1024
_CHUNK_BYTES = _MIB


@dataclass(frozen=True, kw_only=True)
class UploadRecord:
    id: str
    project: str
    filename: str
    purpose: str
    mime_type: str
    bytes: int
    """Of the whole file, as announced."""
    created_at: int
    expires_at: int
    """Unix seconds; one that is not complete by then is of no use."""
    status: UploadStatus
    file: FileRecord | None
    """Once it is completed, and until it is deleted."""


@dataclass(frozen=True, kw_only=True)
class PartRecord:
    id: str
    upload: str
    bytes: int
    created_at: int


class PartWriting(PartialWriting):
    """A part that is being given; as a context manager it is abandoned unless it was committed."""

    def __init__(self, owner: Uploads, project: str, upload_id: str) -> None:
        super().__init__(owner.folder)
        self._owner = owner
        self._project = project
        self._upload = upload_id

    def write(self, chunk: bytes) -> None:
        """Raises UsageError where the part grows beyond what one may have."""
        if self._partial.bytes + len(chunk) > self._owner.part_bytes:
            self.abandon()
            raise UsageError(
                f"A part may have {self._owner.part_bytes:,} bytes, and this one has more.", fix="Send smaller parts."
            )
        super().write(chunk)

    def commit(self) -> PartRecord:
        partial, owner = self._partial, self._owner
        record = PartRecord(id=new_id("part"), upload=self._upload, bytes=partial.bytes, created_at=int(owner.clock()))
        with self._landed(record.id), writing(owner.engine) as connection:
            upload = _demand_pending(connection, self._project, self._upload, owner.clock())
            _demand_room(connection, upload, record.bytes)
            connection.execute(insert(parts).values(**vars(record)))
        return record


class Uploads:
    """`folder` is the service's; parts are in its `parts` until they are put together."""

    def __init__(
        self,
        engine: Engine,
        folder: Path,
        *,
        part_bytes: int = 64 * _MIB,
        upload_bytes: int = 8 * 1024 * _MIB,
        seconds: float = 3600.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.engine = engine
        self.folder = folder / "parts"
        self.part_bytes = part_bytes
        self.clock = clock
        self._files = Files(engine, folder, clock=clock)
        self._upload_bytes = upload_bytes
        self._seconds = seconds

    def create(
        self,
        *,
        project: str,
        filename: str,
        purpose: str,
        bytes: int,
        mime_type: str,
        file_lives_seconds: int | None = None,
    ) -> UploadRecord:
        """Announce a file. `file_lives_seconds` counts from when it is complete; None keeps it until it is deleted."""
        if bytes > self._upload_bytes:
            raise UsageError(
                f"A file may have {self._upload_bytes:,} bytes, and this one has {bytes:,}.", fix="Split it."
            )
        now, upload_id = int(self.clock()), new_id("upload")
        values = {
            "id": upload_id,
            "project": project,
            "filename": filename,
            "purpose": purpose,
            "mime_type": mime_type,
            "bytes": bytes,
            "created_at": now,
            "expires_at": now + int(self._seconds),
            "file_lives_seconds": file_lives_seconds,
            "status": "pending",
        }
        with writing(self.engine) as connection:
            connection.execute(insert(uploads).values(**values))
            return self._told(connection, _find(connection, project, upload_id))

    def get(self, project: str, upload_id: str) -> UploadRecord | None:
        with reading(self.engine) as connection:
            row = _find(connection, project, upload_id)
            return None if row is None else self._told(connection, row)

    def add_part(self, project: str, upload_id: str) -> PartWriting:
        """Begin to take a part in. Raises UsageError unless the upload is there and pending; `commit` asks again."""
        with reading(self.engine) as connection:
            _demand_pending(connection, project, upload_id, self.clock())
        return PartWriting(self, project, upload_id)

    def complete(
        self,
        project: str,
        upload_id: str,
        part_ids: Sequence[str],
        *,
        md5: str | None = None,
        most_bytes: int | None = None,
    ) -> UploadRecord:
        """Put these parts together, in this order; asked again with the same parts, the same answer.

        Raises UsageError for parts that are not this upload's, a sum of bytes other than announced, or another MD5;
        the upload stays pending then. `most_bytes` is what the project's files may have together (QuotaError).
        """
        with reading(self.engine) as connection:
            row = _find(connection, project, upload_id)
            if row is not None and row["status"] == "completed" and row["order"] == list(part_ids):
                return self._told(connection, row)
            upload = _demand_pending(connection, project, upload_id, self.clock())
            _demand_parts(connection, upload, part_ids)
        self._assemble(upload, part_ids, md5, most_bytes)
        self._remove_parts(upload_id)
        with reading(self.engine) as connection:
            return self._told(connection, _find(connection, project, upload_id))

    def cancel(self, project: str, upload_id: str) -> UploadRecord | None:
        """Forget its parts; cancelling again leaves it as it is. Raises UsageError for one that is complete."""
        with writing(self.engine) as connection:
            row = _find(connection, project, upload_id)
            if row is None:
                return None
            if row["status"] != "cancelled":
                _demand_pending(connection, project, upload_id, self.clock())
                connection.execute(update(uploads).where(uploads.c.id == upload_id).values(status="cancelled"))
        self._remove_parts(upload_id)
        return self.get(project, upload_id)

    def sweep(self) -> int:
        """Remove the parts of uploads that came to nothing, and what killed processes left; how many."""
        with writing(self.engine) as connection:
            over = select(uploads.c.id).where(
                or_(uploads.c.status != "pending", uploads.c.expires_at <= int(self.clock()))
            )
            connection.execute(delete(parts).where(parts.c.upload.in_(over)))
        return remove_remains(self.folder, self._is_known)

    def _assemble(self, upload: RowMapping, part_ids: Sequence[str], md5: str | None, most_bytes: int | None) -> None:
        digest = hashlib.md5(usedforsecurity=False)
        with self._files.begin() as whole:
            for part_id in part_ids:
                for chunk in self._chunks(part_id):
                    digest.update(chunk)
                    whole.write(chunk)
            if md5 is not None and digest.hexdigest() != md5.lower():
                raise UsageError("The MD5 of the parts together is not the one given.", fix="Send the parts again.")

            def also(connection: Connection, record: FileRecord) -> None:
                _demand_pending(connection, upload["project"], upload["id"], self.clock())
                done = {"status": "completed", "file": record.id, "order": list(part_ids)}
                connection.execute(update(uploads).where(uploads.c.id == upload["id"]).values(**done))

            lives = upload["file_lives_seconds"]
            whole.commit(
                project=upload["project"],
                filename=upload["filename"],
                purpose=upload["purpose"],
                expires_at=None if lives is None else int(self.clock()) + lives,
                most_bytes=most_bytes,
                also=also,
            )

    def _chunks(self, part_id: str) -> Iterator[bytes]:
        try:
            with self._place(part_id).open("rb") as part:
                while chunk := part.read(_CHUNK_BYTES):
                    yield chunk
        except FileNotFoundError as error:
            raise UsageError("A part of the upload is gone: it was completed or cancelled meanwhile.") from error

    def _remove_parts(self, upload_id: str) -> None:
        with writing(self.engine) as connection:
            named = select(parts.c.id).where(parts.c.upload == upload_id)
            gone = connection.execute(named).scalars().all()
            connection.execute(delete(parts).where(parts.c.upload == upload_id))
        for part_id in gone:
            self._place(part_id).unlink(missing_ok=True)

    def _place(self, part_id: str) -> Path:
        if not is_id("part", part_id):
            raise UsageError("A part's id is not one that the service makes.", fix="Send the part again.")
        return self.folder / part_id

    def _is_known(self, name: str) -> bool:
        with reading(self.engine) as connection:
            return connection.execute(select(parts.c.id).where(parts.c.id == name)).first() is not None

    def _told(self, connection: Connection, row: RowMapping | None) -> UploadRecord:
        assert row is not None
        status = "expired" if _has_expired(row, self.clock()) else row["status"]
        found = select(files).where(files.c.id == row["file"])
        file = connection.execute(found).mappings().first()
        told = None if file is None else as_record(FileRecord, file)
        return as_record(UploadRecord, row, status=cast(UploadStatus, status), file=told)


def _find(connection: Connection, project: str, upload_id: str) -> RowMapping | None:
    found = select(uploads).where(uploads.c.id == upload_id, uploads.c.project == project)
    return connection.execute(found).mappings().first()


def _has_expired(row: RowMapping, now: float) -> bool:
    return row["status"] == "pending" and row["expires_at"] <= int(now)


def _demand_pending(connection: Connection, project: str, upload_id: str, now: float) -> RowMapping:
    row = _find(connection, project, upload_id)
    if row is None:
        raise UsageError("There is no such upload.", fix="Create one first.")
    status = "expired" if _has_expired(row, now) else row["status"]
    if status != "pending":
        raise UsageError(f"The upload is {status}: nothing can be added to it or changed.", fix="Create a new one.")
    return row


def _demand_room(connection: Connection, upload: RowMapping, more: int) -> None:
    sent = connection.execute(select(func.sum(parts.c.bytes)).where(parts.c.upload == upload["id"])).scalar() or 0
    # Twice what was announced: a part whose answer was lost is sent again.
    if sent + more > 2 * upload["bytes"]:
        raise UsageError(
            f"The parts have more than twice the {upload['bytes']:,} bytes that were announced.",
            fix="Create a new upload and announce the file's true size.",
        )


def _demand_parts(connection: Connection, upload: RowMapping, part_ids: Sequence[str]) -> None:
    sent = {row.id: row.bytes for row in connection.execute(select(parts).where(parts.c.upload == upload["id"]))}
    unknown = [one for one in part_ids if one not in sent]
    if unknown or len(set(part_ids)) < len(part_ids):
        what = "is not one of the upload's parts" if unknown else "is named twice"
        which = unknown[0] if unknown else next(one for one in part_ids if list(part_ids).count(one) > 1)
        raise UsageError(f"{which!r} {what}.", fix="Name each part once, in order.")
    together = sum(sent[one] for one in part_ids)
    if together != upload["bytes"]:
        raise UsageError(
            f"The parts have {together:,} bytes together, and {upload['bytes']:,} were announced.",
            fix="Name all parts, or create an upload of the true size.",
        )
