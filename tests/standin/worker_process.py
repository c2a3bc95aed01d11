"""Another process that lets workers compute, to be killed from outside."""

from __future__ import annotations

import fcntl
import os
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from fewtune.engine.workers import Workers


class Base:
    """What workers are forked with; they only hand it on."""


def pid(_base: Any, seconds: float = 0.0) -> int:
    time.sleep(seconds)
    return os.getpid()


def hold_lock_and_work(lock: Path, told: Connection) -> None:
    """Lock a file, start workers, tell their numbers, keep one of them busy."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        base = Base()
        workers = Workers(base, on_cpu=True)
        told.send(sorted({workers.submit(pid, 0.05).result() for _ in range(20)}))
        workers.submit(pid, 600.0).result()
