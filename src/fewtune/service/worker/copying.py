"""A model's folder, put in place whole or not at all, also where the process is killed or the disk fills."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from fewtune.errors import from_os_error
from fewtune.providers.contract import MODEL_FILE
from fewtune.store.partial_file import synchronise


def keep_model(adapter: Path | None, model: str, target: Path) -> None:
    """The adapter's files, or the provider's name of the model where there are none; a target that is there already
    is left as it is.

    Raises UnfinishedError for a full disk.
    """
    if adapter is not None:
        copy_whole(adapter, target)
    else:
        _put(target, lambda fresh: (fresh / MODEL_FILE).write_text(model, encoding="utf-8"))


def copy_whole(source: Path, target: Path) -> None:
    """Its files, not the folders in it."""

    def copy(fresh: Path) -> None:
        for path in sorted(source.iterdir()):
            if path.is_file():
                shutil.copyfile(path, fresh / path.name)

    _put(target, copy)


def _put(target: Path, fill: Callable[[Path], object]) -> None:
    if target.is_dir():
        return
    fresh = target.with_name(f"{target.name}.partial")
    try:
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True, mode=0o700)
        fill(fresh)
        for path in (*fresh.iterdir(), fresh):
            synchronise(path)
        os.rename(fresh, target)
        synchronise(target.parent)
    except OSError as error:
        shutil.rmtree(fresh, ignore_errors=True)
        raise from_os_error(error, "keep the model", target) from error
