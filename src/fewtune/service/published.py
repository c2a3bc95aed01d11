"""Finished runs of this home, served as models under their ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine

from fewtune.errors import UsageError
from fewtune.store.models import Models


@dataclass(frozen=True, kw_only=True)
class Published:
    """A run with its weights at hand."""

    id: str
    base: str
    adapter: Path


def find_runs(names: Sequence[str]) -> tuple[Published, ...]:
    """By id, beginning of one, folder, or `last`.

    Raises UsageError for a run that is not finished, or whose weights are not here.
    """
    return tuple(map(_find, names))


def publish(runs: Sequence[Published], engine: Engine, folder: Path, project: str) -> None:
    """Make them known to the service; one that lies elsewhere since the last start is found there."""
    models = Models(engine, folder)
    for run in runs:
        there = models.get(project, run.id)
        if there and (there.base, there.folder) != (run.base, run.adapter):
            models.delete(project, run.id)
        models.add(name=run.id, project=project, base=run.base, kind="run", folder=run.adapter)


def _find(name: str) -> Published:
    from fewtune.experiment.face import open_run

    summary = open_run(name).summary
    adapter = summary.files.get("adapter")
    if adapter is None or not Path(adapter).is_dir():
        raise UsageError(
            f"The weights of the run {summary.id} are not on this machine.",
            fix="Only what was trained with --provider local, and is still there, can be served.",
        )
    return Published(id=summary.id, base=summary.base, adapter=Path(adapter).absolute())
