"""`fewtune serve` as a process of its own, as a user starts it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class ServiceProcess:
    """Listens at a free port from when it was made until `stop`."""

    def __init__(self, home: Path, *words: str, environment: Mapping[str, str] | None = None) -> None:
        self.home = home
        self.log = home / "serve.log"
        home.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "fewtune", "serve", "--json", "--port", "0", *words]
        variables = {**os.environ, "FEWTUNE_HOME": str(home), **(environment or {})}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env=variables, text=True)
        assert self.process.stdout
        first = self.process.stdout.readline()
        assert first, self.log.read_text(encoding="utf-8")
        self.told: dict[str, Any] = json.loads(first)
        self.address: str = self.told["address"]
        self.key: str = self.told["key"] or ""

    @property
    def environment(self) -> dict[str, str]:
        """For a client's process."""
        return {**os.environ, "OPENAI_BASE_URL": self.address, "OPENAI_API_KEY": self.key, "NO_PROXY": "127.0.0.1"}

    def stop(self) -> int:
        """As Ctrl-C does; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        finally:
            assert self.process.stdout
            self.process.stdout.close()
