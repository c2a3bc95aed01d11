"""A file that is there whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from fewtune.errors import from_os_error


def write_whole(content: bytes, path: Path, purpose: str) -> None:
    """A reader never sees half of it, nor does a crash leave one; `purpose` stands in the error.

    Raises UnfinishedError when the disk is full, UsageError when the path cannot be written.
    """
    try:
        _replace(path, content)
    except OSError as error:
        raise from_os_error(error, purpose, path) from error


def _replace(path: Path, content: bytes) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
