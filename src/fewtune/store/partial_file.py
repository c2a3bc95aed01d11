"""A file that is complete or not there: written aside, synchronised, then renamed to its place."""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from fewtune.errors import from_os_error

BEGINNING = ".partial-"


class PartialFile:
    """Bytes on their way into a folder.

    While they are, the file is locked; the lock ends with the process, so `remove_remains` knows what nobody writes
    any more. Counts and digests what it is given.
    """

    def __init__(self, folder: Path) -> None:
        self.bytes = 0
        self._digest = hashlib.sha256()
        self._path, self._descriptor = _created(folder)

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def write(self, chunk: bytes) -> None:
        try:
            view = memoryview(chunk)
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError as error:
            self.abandon()
            raise from_os_error(error, "keep the file", self._path.parent) from error
        self.bytes += len(chunk)
        self._digest.update(chunk)

    def land(self, name: str) -> Path:
        """Under its name, and on the disk. Still locked, until `close`: nobody takes it for remains meanwhile."""
        place = self._path.with_name(name)
        try:
            os.fsync(self._descriptor)
            self._path = self._path.rename(place)
            synchronise(place.parent)
        except OSError as error:
            self.abandon()
            raise from_os_error(error, "keep the file", place.parent) from error
        return place

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def abandon(self) -> None:
        """Remove what was written, wherever it stands; after `close` it is kept."""
        if self._descriptor >= 0:
            self._path.unlink(missing_ok=True)
            self.close()


class PartialWriting:
    """What is given piece by piece; as a context manager it is abandoned unless it was committed."""

    def __init__(self, folder: Path) -> None:
        self._partial = PartialFile(folder)

    def write(self, chunk: bytes) -> None:
        self._partial.write(chunk)

    def abandon(self) -> None:
        """Forget the bytes; after a commit this does nothing."""
        self._partial.abandon()

    @contextmanager
    def _landed(self, name: str) -> Generator[None]:
        """The bytes are in place while their row is written; where that fails they are removed."""
        try:
            self._partial.land(name)
            yield
        except BaseException:
            self._partial.abandon()
            raise
        self._partial.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.abandon()


def synchronise(path: Path) -> None:
    """Make a file's bytes, or the names in a folder, outlast a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_remains(folder: Path, is_kept: Callable[[str], bool]) -> int:
    """Remove what killed processes left: files that nobody is writing and that `is_kept` does not know by name."""
    entries = [entry for entry in folder.iterdir() if entry.is_file()] if folder.is_dir() else []
    return sum(_removed(entry, is_kept) for entry in entries)


def _created(folder: Path) -> tuple[Path, int]:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        while True:
            path = folder / f"{BEGINNING}{secrets.token_hex(12)}"
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            if _lock(descriptor) and os.fstat(descriptor).st_nlink:
                return path, descriptor
            # Taken for remains in the moment before it was locked.
            os.close(descriptor)
    except OSError as error:
        raise from_os_error(error, "keep the file", folder) from error


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _removed(entry: Path, is_kept: Callable[[str], bool]) -> bool:
    try:
        descriptor = os.open(entry, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        # Asked after it is locked: a name is known before its writer lets go.
        if not _lock(descriptor) or (not entry.name.startswith(BEGINNING) and is_kept(entry.name)):
            return False
        entry.unlink(missing_ok=True)
        return True
    finally:
        os.close(descriptor)
