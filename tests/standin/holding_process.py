"""Another process that works in a run's folder until it is told to leave."""

from __future__ import annotations

from multiprocessing.synchronize import Event
from pathlib import Path

from fewtune.experiment.folder import held
from fewtune.experiment.settings import RunSettings


def hold(folder: Path, settings: RunSettings, data_sha256: str, ready: Event, done: Event) -> None:
    with held(folder, settings.run_id(data_sha256), settings, data_sha256):
        ready.set()
        done.wait(60)
