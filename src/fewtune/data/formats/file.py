"""A file on disk as the readers get it: there, regular, permitted, and not too large."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from fewtune.data.columns import nearest
from fewtune.data.formats.limits import MEBIBYTE, MOST_FILE_BYTES, size
from fewtune.errors import DataError

_TOO_LARGE = f"The file is larger than {size(MOST_FILE_BYTES)}, the most that is read."
_SPLIT = "Give it in parts, as a folder of smaller files."


@dataclass(frozen=True, kw_only=True)
class DataFile:
    """Bytes that can be read more than once."""

    path: Path
    name: str
    """As the user would name it; every source shares this very string."""

    def chunks(self) -> Iterator[bytes]:
        """The bytes, a mebibyte at a time."""
        try:
            with self.path.open("rb") as stream:
                while chunk := stream.read(MEBIBYTE):
                    yield chunk
        except OSError as error:
            raise unreadable(error, self.name) from error

    def head(self, count: int) -> bytes:
        """The first bytes, as many as there are up to `count`."""
        head = b""
        for chunk in self.chunks():
            head += chunk
            if len(head) >= count:
                break
        return head[:count]

    def sha256(self) -> str:
        """Of the bytes, in hexadecimal."""
        digest = hashlib.sha256()
        for chunk in self.chunks():
            digest.update(chunk)
        return digest.hexdigest()


def path_as_text(path: Path) -> str:
    """For messages: a name that is no Unicode is shown as far as it can be."""
    return str(path).encode(errors="replace").decode()


def unreadable(error: Exception, name: str) -> DataError:
    """The operating system's refusal, in our words."""
    reason = getattr(error, "strerror", None) or str(error)
    return DataError(f"The file cannot be read: {reason}.", where=name, fix="Check the path and its permissions.")


def find(path: Path) -> os.stat_result:
    """What is there, links followed. Raises DataError where there is nothing."""
    name = path_as_text(path)
    try:
        if path.is_symlink() and not path.exists():
            raise DataError("This is a link that leads nowhere.", where=name, fix="Give the file itself.")
        if not path.exists():
            raise DataError("There is no such file.", where=name, fix=_remedy_for_missing(path))
        return path.stat()
    except (OSError, ValueError) as error:
        raise unreadable(error, name) from error


def regular_file(path: Path) -> DataFile:
    """Raises DataError for a device, a pipe, and what is larger than anything that is read."""
    name = path_as_text(path)
    found = find(path)
    if not stat.S_ISREG(found.st_mode):
        fix = "Save the records in a file first, or pipe them in and give '-' as the file."
        raise DataError("This is not a regular file.", where=name, fix=fix)
    if found.st_size > MOST_FILE_BYTES:
        raise DataError(_TOO_LARGE, where=name, fix=_SPLIT)
    return DataFile(path=path, name=name)


def spooled(stream: BinaryIO, name: str) -> DataFile:
    """A copy of what a stream gives, in a temporary file that goes when nobody holds it any more."""
    try:
        handle, path = tempfile.mkstemp(prefix="fewtune-")
        file = DataFile(path=Path(path), name=name)
        weakref.finalize(file, _remove, path)
        with open(handle, "wb") as copy:
            while chunk := stream.read(MEBIBYTE):
                if copy.tell() + len(chunk) > MOST_FILE_BYTES:
                    raise DataError(_TOO_LARGE, where=name, fix=_SPLIT)
                copy.write(chunk)
    except OSError as error:
        raise unreadable(error, name) from error
    return file


def _remove(path: str) -> None:
    Path(path).unlink(missing_ok=True)


def _remedy_for_missing(path: Path) -> str:
    neighbours = [neighbour.name for neighbour in path.parent.iterdir()] if path.parent.is_dir() else []
    return f"{nearest(path.name, neighbours)}Check the path."
