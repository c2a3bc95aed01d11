"""Where a worker listens."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from fewtune.errors import UsageError

_LONGEST = 100
"""Bytes of a socket's path; systems take 104 to 108."""


def worker_socket(folder: Path, number: int) -> Path:
    """The socket of worker `number`, counted from 0.

    It lies in the service's folder; where that makes its path too long, in a folder of the user's own in the system's
    temporary one, which is made. Raises UsageError where that folder belongs to somebody else.
    """
    path = folder.resolve() / f"worker-{number}.sock"
    if len(os.fsencode(path)) <= _LONGEST:
        return path
    digest = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]
    own = Path(tempfile.gettempdir()) / f"fewtune-{os.getuid()}-{digest}"
    own.mkdir(mode=0o700, exist_ok=True)
    found = own.lstat()
    if own.is_symlink() or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise UsageError(
            "The folder for the workers' sockets belongs to somebody else, or others can enter it.",
            where=str(own),
            fix="Remove it, or give the service a folder with a shorter path: --folder",
        )
    return own / path.name
