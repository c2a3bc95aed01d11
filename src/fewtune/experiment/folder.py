"""A run's folder: taken by one run and held by one process."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from fewtune.errors import DataError, OccupiedError, from_os_error
from fewtune.experiment.settings import RunSettings

_CARD, _LOCK = "run.json", "run.lock"
_UNFINISHED_CARD = f"{_CARD}.partial"


@contextmanager
def held(folder: Path, run_id: str, settings: RunSettings, data_sha256: str) -> Generator[None, None, None]:
    """Take the folder for this run, and keep every other process out until the block ends.

    Raises OccupiedError where it belongs to another run or to nobody known, or another process has it;
    DataError where it is this run's but the data has changed since; UsageError where it cannot be written.
    """
    try:
        _check_owner(folder, run_id, settings, data_sha256)
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / _LOCK, timeout=0)
        lock.acquire()
    except Timeout as error:
        raise OccupiedError(
            "Another process is working on this run.", where=str(folder), fix="Wait for it, or choose another --out."
        ) from error
    except OSError as error:
        raise from_os_error(error, "use the run's folder", folder) from error
    try:
        # Again, under the lock: another run may have taken the folder since.
        _check_owner(folder, run_id, settings, data_sha256)
        _write_card(folder, run_id, settings, data_sha256)
        yield
    finally:
        lock.release()


def _check_owner(folder: Path, run_id: str, settings: RunSettings, data_sha256: str) -> None:
    if not folder.exists():
        return
    card = _read_card(folder)
    if card is None:
        strangers = sorted(path.name for path in folder.iterdir() if path.name not in (_LOCK, _UNFINISHED_CARD))
        if strangers:
            raise OccupiedError(
                f"The folder is not empty ({strangers[0]}{' and others' if strangers[1:] else ''}) and holds no run.",
                where=str(folder),
                fix="Choose another --out.",
            )
        return
    if card["id"] == run_id:
        return
    if _same_but_for_path(card["settings"], settings) and card["data_sha256"] != data_sha256:
        raise DataError(
            f"The data has changed since this run began (then {card['data_sha256'][:12]}, now {data_sha256[:12]}).",
            where=settings.data,
            fix="Restore the file to resume, or choose another --out to begin anew.",
        )
    raise OccupiedError(f"The folder holds another run, {card['id']}.", where=str(folder), fix="Choose another --out.")


def is_held(folder: Path) -> bool:
    """Whether some process is working on the run of this folder right now."""
    if not (folder / _LOCK).exists():
        return False
    lock = FileLock(folder / _LOCK, timeout=0)
    try:
        with lock:
            return False
    except Timeout:
        return True


def _same_but_for_path(stored: dict[str, Any], settings: RunSettings) -> bool:
    """A resumed run knows its data by its full path, a new one as the user typed it."""
    return {**stored, "data": ""} == {**json.loads(json.dumps(settings.to_json())), "data": ""}


def _read_card(folder: Path) -> dict[str, Any] | None:
    """None where there is no card, or a file of that name that is none of ours."""
    try:
        card = json.loads((folder / _CARD).read_text(encoding="utf-8"))
        return {name: card[name] for name in ("id", "settings", "data_sha256")}
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _write_card(folder: Path, run_id: str, settings: RunSettings, data_sha256: str) -> None:
    card = {"id": run_id, "settings": settings.to_json(), "data_sha256": data_sha256}
    temporary = folder / _UNFINISHED_CARD
    try:
        temporary.write_text(json.dumps(card, indent=2), encoding="utf-8")
        temporary.replace(folder / _CARD)
    except OSError as error:
        raise from_os_error(error, "write into the run's folder", folder) from error
