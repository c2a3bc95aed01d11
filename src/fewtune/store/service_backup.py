"""All that the service keeps, in one tar file; taken while it runs, and checked byte by byte when it is put back."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import sqlite3
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from sqlalchemy import Engine, select

from fewtune.errors import UnfinishedError, UsageError, from_os_error
from fewtune.store.job_records import ENDED
from fewtune.store.partial_file import synchronise
from fewtune.store.service_database import FILE_NAME, is_sqlite, open_service_database, reading, writing
from fewtune.store.service_schema import files, jobs, models, parts, permissions

MANIFEST = "manifest.json"
_TAR = "backup.tar"
_VERSION = 1
_CHUNK_BYTES = 1024 * 1024
_IN_MEMORY_BYTES = 8 * 1024 * 1024
_BESIDE_THE_DATABASE = frozenset({"files", "parts", "models", "work", "jobs"})


@dataclass(frozen=True, kw_only=True)
class BackupRecord:
    """What a backup holds."""

    made_at: int
    """Unix seconds."""
    files: int
    bytes: int
    left_out: tuple[str, ...] = ()
    """Files and models that the database names and whose bytes were gone: deleted while the backup was taken."""


def backup(engine: Engine, folder: Path, target: Path) -> BackupRecord:
    """Write one that is whole or not there. What is acknowledged before it begins is in it.

    Of unfinished jobs their working folders come along, as they are in that moment; of ended ones only what they made.
    Local runs' models are named, not copied. Raises UsageError for PostgreSQL, and where the target exists.
    """
    if not is_sqlite(engine):
        raise UsageError(
            "A backup of the service is taken of SQLite only.",
            fix=f"Take the database with pg_dump, and after it copy the folders files, parts, models, work and jobs of "
            f"{folder}.",
        )
    if target.exists():
        raise UsageError("The backup's file exists already.", where=str(target), fix="Name a new one.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".backup-") as aside:
            record = _write(engine, folder, Path(aside))
            (Path(aside) / _TAR).rename(target)
        synchronise(target.parent)
    except OSError as error:
        raise from_os_error(error, "write the backup", target) from error
    except sqlite3.Error as error:
        raise UnfinishedError(
            f"The database could not be copied: {error}.",
            where=str(target),
            fix="Free some space, then take the backup again.",
        ) from error
    return record


def restore(target: Path, folder: Path) -> BackupRecord:
    """Put a backup into a folder that is empty or not there: all of it, checked, or nothing.

    Raises UsageError where the folder holds something, or the backup is not whole.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError("The folder is not empty.", where=str(folder), fix="Restore into a new one.")
    fresh = folder.with_name(f".{folder.name}.partial-{secrets.token_hex(4)}")
    try:
        fresh.mkdir(parents=True, mode=0o700)
        record = _unpack(target, fresh)
        _check_database(fresh / FILE_NAME, target)
        fresh.rename(folder)
        synchronise(folder.parent)
    except (tarfile.TarError, ValueError, KeyError, TypeError) as error:
        raise _damaged(target, str(error) or type(error).__name__) from error
    except OSError as error:
        raise from_os_error(error, "restore the backup", Path(error.filename or target)) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return record


class _Archive:
    """A tar file being written, and the digest of each of its members."""

    def __init__(self, tar: tarfile.TarFile, aside: Path) -> None:
        self._tar = tar
        self._aside = aside
        self.members: dict[str, dict[str, Any]] = {}

    def add(self, path: Path, name: str) -> bool:
        """The file as it is in this moment, though it may grow or go meanwhile; whether it was there."""
        if path.suffix == ".db" and path.is_file():
            path = self._copied_database(path)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        except FileNotFoundError:
            return False
        digest = hashlib.sha256()
        with (
            os.fdopen(descriptor, "rb") as source,
            tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES, dir=str(self._aside)) as held,
        ):
            while chunk := source.read(_CHUNK_BYTES):
                digest.update(chunk)
                held.write(chunk)
            self._append(cast(IO[bytes], held), name, digest.hexdigest())
        return True

    def _copied_database(self, path: Path) -> Path:
        copy = self._aside / "one.db"
        copy.unlink(missing_ok=True)
        try:
            _copy_database(path, copy)
        except sqlite3.DatabaseError:
            # Named like one, or gone meanwhile.
            return path
        return copy

    def close(self, made_at: int) -> None:
        """With the manifest, the last of all: a backup without one is not whole."""
        text = json.dumps({"version": _VERSION, "made_at": made_at, "members": self.members}, indent=1).encode()
        self._append(BytesIO(text), MANIFEST, hashlib.sha256(text).hexdigest())

    def _append(self, held: IO[bytes], name: str, sha256: str) -> None:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode, entry.mtime = held.seek(0, os.SEEK_END), 0o600, int(time.time())
        held.seek(0)
        self.members[name] = {"bytes": entry.size, "sha256": sha256}
        self._tar.addfile(entry, held)


def _write(engine: Engine, folder: Path, aside: Path) -> BackupRecord:
    made_at, database = int(time.time()), aside / FILE_NAME
    _copy_database(Path(str(engine.url.database)), database)
    copy = open_service_database(database)
    descriptor = os.open(aside / _TAR, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        with tarfile.open(fileobj=file, mode="w") as tar:
            archive = _Archive(tar, aside)
            left_out = _add_known(archive, copy, folder)
            _add_unfinished(archive, copy, folder)
            copy.dispose()
            archive.add(database, FILE_NAME)
            members = dict(archive.members)
            archive.close(made_at)
        file.flush()
        os.fsync(file.fileno())
    size = sum(member["bytes"] for member in members.values())
    return BackupRecord(made_at=made_at, files=len(members), bytes=size, left_out=left_out)


def _copy_database(source: Path, target: Path) -> None:
    """One moment of it, whoever writes to it meanwhile."""
    # `rw`, not the usual `rwc`: one that is gone is not made anew.
    there = f"{source.absolute().as_uri()}?mode=rw"
    with closing(sqlite3.connect(there, uri=True, timeout=30)) as live, closing(sqlite3.connect(target)) as copy:
        live.backup(copy)
        # One file, with no log beside it.
        copy.execute("PRAGMA journal_mode=DELETE")


def _add_known(archive: _Archive, copy: Engine, folder: Path) -> tuple[str, ...]:
    """Bytes of the copied database's rows; rows whose bytes are gone are taken out of the copy."""
    with reading(copy) as connection:
        file_ids = list(connection.execute(select(files.c.id)).scalars())
        part_ids = list(connection.execute(select(parts.c.id)).scalars())
        own = select(models.c.name, models.c.key).where(models.c.kind != "run")
        tuned = [(row.name, row.key) for row in connection.execute(own)]
    lost_files = [one for one in file_ids if not archive.add(folder / "files" / one, f"files/{one}")]
    lost_parts = [one for one in part_ids if not archive.add(folder / "parts" / one, f"parts/{one}")]
    lost_models = [name for name, key in tuned if not _add_folder(archive, folder, Path("models") / key)]
    with writing(copy) as connection:
        connection.execute(files.delete().where(files.c.id.in_(lost_files)))
        connection.execute(parts.delete().where(parts.c.id.in_(lost_parts)))
        connection.execute(permissions.delete().where(permissions.c.model.in_(lost_models)))
        connection.execute(models.delete().where(models.c.name.in_(lost_models)))
    return (*lost_files, *lost_parts, *lost_models)


def _add_unfinished(archive: _Archive, copy: Engine, folder: Path) -> None:
    with reading(copy) as connection:
        ended = tuple(connection.execute(select(jobs.c.id).where(jobs.c.state.in_(ENDED))).scalars())
    homes = [*(folder / "work").glob("*/*"), *(folder / "jobs").glob("*")]
    for home in sorted(homes):
        if not home.name.startswith(ended):
            _add_folder(archive, folder, home.relative_to(folder))


def _add_folder(archive: _Archive, folder: Path, inside: Path) -> bool:
    """Whether there was something in it."""
    found = [archive.add(folder / one, one.as_posix()) for one in _files_of(folder, inside)]
    return any(found)


def _files_of(folder: Path, inside: Path) -> Iterator[Path]:
    path = folder / inside
    if path.is_symlink():
        return
    if path.is_file():
        # What belongs to a database that is open is in the database's copy.
        if not path.name.endswith(("-wal", "-shm", ".lock")):
            yield inside
        return
    try:
        names = sorted(os.listdir(path))
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in names:
        yield from _files_of(folder, inside / name)


def _unpack(target: Path, fresh: Path) -> BackupRecord:
    names: list[str] = []
    with tarfile.open(target, "r:") as tar:
        for member in tar:
            _demand_harmless(member, target)
            tar.extract(member, fresh, filter="data")
            names.append(member.name)
    if names[-1:] != [MANIFEST]:
        raise _damaged(target, "it ends before its manifest")
    manifest = json.loads((fresh / MANIFEST).read_text(encoding="utf-8"))
    (fresh / MANIFEST).unlink()
    if manifest["version"] != _VERSION:
        raise UsageError(
            "The backup was made by a newer fewtune.", where=str(target), fix="Upgrade: pip install -U fewtune."
        )
    members: dict[str, dict[str, Any]] = manifest["members"]
    if sorted(names[:-1]) != sorted(members):
        raise _damaged(target, "its files are not those of its manifest")
    for name, told in members.items():
        _check_file(fresh / name, told, target)
    for path in (fresh, *(one for one in fresh.rglob("*") if one.is_dir())):
        path.chmod(0o700)
        synchronise(path)
    size = sum(told["bytes"] for told in members.values())
    return BackupRecord(made_at=manifest["made_at"], files=len(members), bytes=size)


def _demand_harmless(member: tarfile.TarInfo, target: Path) -> None:
    path = PurePosixPath(member.name)
    known = member.name in (MANIFEST, FILE_NAME) or (len(path.parts) > 1 and path.parts[0] in _BESIDE_THE_DATABASE)
    if not member.isreg() or not known or ".." in path.parts or "\\" in member.name:
        raise _damaged(target, f"{member.name!r} has no place in one")


def _check_file(path: Path, told: dict[str, Any], target: Path) -> None:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
    if digest != told["sha256"] or path.stat().st_size != told["bytes"]:
        raise _damaged(target, f"{path.name} is not what was saved")


def _check_database(path: Path, target: Path) -> None:
    if not path.is_file():
        raise _damaged(target, "it holds no database")
    with closing(sqlite3.connect(path)) as connection:
        try:
            said = connection.execute("PRAGMA integrity_check").fetchone()[0]
        except sqlite3.DatabaseError as error:
            said = str(error)
    if said != "ok":
        raise _damaged(target, f"its database is not sound: {said}")


def _damaged(target: Path, reason: str) -> UsageError:
    return UsageError(f"The backup cannot be used: {reason}.", where=str(target), fix="Take another one.")
