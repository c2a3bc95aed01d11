"""A PostgreSQL server of the tests' own, without a network port, gone when they end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

_NUMBERS = count(1)


class PostgreSQL:
    def __init__(self, folder: Path, user: str | None) -> None:
        self._folder = folder
        self._as: dict[str, Any] = {"cwd": "/", "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        if user is not None:
            # The server refuses to run as root.
            self._as |= {"user": user, "extra_groups": []}
            shutil.chown(folder, user)
        data, options = str(folder / "data"), ("-E", "UTF8", "--locale=C", "--auth=trust", "-U", "fewtune", "--no-sync")
        subprocess.run([_program("initdb"), "-D", data, *options], check=True, **self._as)
        settings = ("-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=200")
        self._process = subprocess.Popen([_program("postgres"), "-D", data, "-k", str(folder), *settings], **self._as)
        self._wait()

    def url(self, database: str) -> str:
        return f"postgresql://fewtune@/{database}?host={self._folder}"

    def new_schema(self) -> str:
        """The URL of an empty place of its own; a whole database each would be seven megabytes to copy."""
        name = f"service_{next(_NUMBERS)}"
        self.say(f"CREATE SCHEMA {name}")
        return f"{self.url('postgres')}&options=-csearch_path%3D{name}"

    def close(self) -> None:
        # At once: nobody needs what it holds.
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(30)

    def _wait(self) -> None:
        until = time.monotonic() + 60
        while not (self._folder / ".s.PGSQL.5432").exists():
            assert self._process.poll() is None and time.monotonic() < until, "PostgreSQL did not start"
            time.sleep(0.05)
        while True:
            try:
                return self.say("SELECT 1")
            except Exception:
                if time.monotonic() > until:
                    raise
                time.sleep(0.05)

    def say(self, statement: str) -> None:
        """As its owner, outside of any transaction."""
        engine = create_engine(self.url("postgres").replace("postgresql:", "postgresql+psycopg:"))
        try:
            with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.execute(text(statement))
        finally:
            engine.dispose()


def run_postgresql() -> Iterator[PostgreSQL]:
    """Skips the test where there is no server to start."""
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    if _program("initdb") is None or _program("postgres") is None:
        pytest.skip("PostgreSQL's server is not on this machine")
    # Not below pytest's own folder, which another user may not enter; and a socket's path must be short.
    with tempfile.TemporaryDirectory(prefix="fewtune-pg-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        server = PostgreSQL(Path(folder), "nobody" if os.geteuid() == 0 else None)
        try:
            yield server
        finally:
            server.close()


def _program(name: str) -> Any:
    installed = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(installed[-1]) if installed else None)
