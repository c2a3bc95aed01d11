"""The adapters that this machine can answer with, by name."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path

from fewtune.engine import checkpoint
from fewtune.engine.adapter_folder import open_adapter
from fewtune.engine.base_model import BaseModel
from fewtune.engine.lora import Adapter, average
from fewtune.errors import BaseModelError, UsageError
from fewtune.providers.contract import BASE, averaged
from fewtune.providers.trial_folder import TrialFolder

_OPEN = 64
"""Adapters that stay in memory."""

_Key = tuple[tuple[Path, int], ...]


class LocalModels:
    """Checkpoints of trials, means of them, and the workspace's further adapters; those asked for last stay open.

    The same name gives the same object as long as it stays, so that the engine sees whose tokens go together.
    """

    def __init__(self, kept: TrialFolder, adapters: Mapping[str, Path]) -> None:
        self._kept = kept
        self._adapters = adapters
        self._open: OrderedDict[_Key, Adapter] = OrderedDict()

    def adapter(self, model: str, base: BaseModel) -> Adapter | None:
        """None is the bare base. Raises UsageError where there is no such model, BaseModelError where it is damaged
        or another base's."""
        if model == BASE:
            return None
        folders = self._folders(model)
        key = tuple((folder, _changed(folder, model)) for folder in folders)
        if key not in self._open:
            self._open[key] = _mean([_opened(folder, model, base) for folder in folders])
        self._open.move_to_end(key)
        while len(self._open) > _OPEN:
            self._open.popitem(last=False)
        return self._open[key]

    def _folders(self, model: str) -> list[Path]:
        own = self._adapters.get(model)
        return [self._folder(one) for one in averaged(model)] if own is None else [own]

    def _folder(self, model: str) -> Path:
        handle, _, step = model.rpartition("@")
        folder = self._kept.adapter(handle, int(step)) if handle and step.isdecimal() else None
        if folder is None or not folder.exists():
            raise UsageError(f"There is no model {model!r} here.", fix="Use `base` or the model of a checkpoint.")
        return folder


def _changed(folder: Path, model: str) -> int:
    try:
        return folder.stat().st_mtime_ns
    except OSError as error:
        raise _damaged(folder, model) from error


def _opened(folder: Path, model: str, base: BaseModel) -> Adapter:
    # An adapter from elsewhere has no manifest, and only what can be read of it.
    if (folder / checkpoint.MANIFEST).exists() and not checkpoint.is_whole(folder):
        raise _damaged(folder, model)
    return open_adapter(folder, base)


def _damaged(folder: Path, model: str) -> BaseModelError:
    return BaseModelError(f"The adapter {model!r} is damaged.", where=str(folder))


def _mean(adapters: Sequence[Adapter]) -> Adapter:
    return adapters[0] if len(adapters) == 1 else average(adapters[0], [one.flat for one in adapters])
