"""What a provider must remember so that another process can go on: one small JSON file for each handle."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fewtune.errors import UsageError, from_os_error

_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class States:
    """A folder of `<handle>.json`; a reader sees the old state or the new one, never half of it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, handle: str, ending: str) -> Path:
        """Where something of this handle is kept. Raises UsageError for a name that could leave the folder."""
        if not _SAFE_NAME.fullmatch(handle):
            raise UsageError(
                f"{handle!r} cannot name a trial.", fix="Use up to 100 letters, digits, dots, dashes and underscores."
            )
        return self._folder / f"{handle}{ending}"

    def known(self, handle: str) -> bool:
        return self.path(handle, ".json").exists()

    def load(self, handle: str) -> dict[str, Any]:
        """Raises UsageError for a handle that was never started here, or whose file is damaged."""
        path = self.path(handle, ".json")
        if not path.exists():
            raise UsageError(f"No trial {handle!r} was started here.", where=str(self._folder))
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            fix = "Restore the file, or remove it to start the trial anew."
            raise UsageError(f"The trial's state is damaged: {error}.", where=str(path), fix=fix) from error

    def save(self, handle: str, state: Mapping[str, Any]) -> None:
        self.write(handle, ".json", json.dumps(state, indent=1).encode())

    def write(self, handle: str, ending: str, content: bytes) -> Path:
        """On the disk when this returns: a job that costs money is made only after its state was kept."""
        path = self.path(handle, ending)
        unfinished = path.with_name(path.name + ".partial")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with unfinished.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(unfinished, path)
        except OSError as error:
            raise from_os_error(error, "keep the trial's state", path) from error
        return path
