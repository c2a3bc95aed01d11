"""What jobs leave that ended while no worker held them, or in the hands of one that was killed."""

from __future__ import annotations

import shutil
from collections.abc import Collection

from fewtune.service.worker.archive import Archive
from fewtune.store.identifiers import is_id


def remove_remains(archive: Archive, held: Collection[str]) -> None:
    """Resume points, copies of data and the like of all jobs that have ended; the models are kept elsewhere."""
    work, jobs = archive.settings.folder / "work", archive.settings.folder / "jobs"
    folders = [path for path in (*work.glob("*/*"), *jobs.glob("*")) if path.is_dir() and is_id("ftjob", path.name)]
    ended = archive.queue.ended({path.name for path in folders} - set(held))
    for path in folders:
        if path.name in ended:
            shutil.rmtree(path, ignore_errors=True)
