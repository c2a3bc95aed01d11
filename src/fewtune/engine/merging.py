"""A base and an adapter as one set of weights: W + (alpha / rank) B A."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fewtune.engine.stored_adapter import StoredAdapter, read_adapter
from fewtune.engine.stored_weights import (
    INDEX,
    WHOLE,
    StoredWeights,
    content_of,
    open_weights,
    rounded,
    shape_as,
    write_weights,
)
from fewtune.errors import BaseModelError

_COMPANIONS = ("*.json", "*.jinja", "*.txt", "*.model", "LICENSE*", "NOTICE*")
"""What belongs to a model besides its weights: config, tokenizer, chat template, licence."""


@dataclass(frozen=True, kw_only=True)
class Merged:
    """The weights of base and adapter together, made one tensor at a time when they are read."""

    weights: StoredWeights
    adapter: StoredAdapter
    layers: Mapping[str, str]
    """Name of each adapted tensor to the path of its layer."""

    def tensor(self, name: str) -> Tensor:
        """In the base's own type where nothing was adapted; the sum in fp32 where something was."""
        stored = self.weights.read(name)
        if name not in self.layers:
            return stored
        a, b = self.adapter.matrices[self.layers[name]]
        change = self.adapter.scale * (b.float() @ a.float())
        return stored.float() + (change.T if self.adapter.transposed else change)

    def content(self, name: str) -> bytes:
        """The tensor's bytes in the base's own type."""
        if name not in self.layers:
            return self.weights.content(name)
        stored = rounded(self.tensor(name), self.weights.shape(name))
        if not stored.isfinite().all():
            raise BaseModelError(
                f"The merged layer {self.layers[name]} does not fit into the base's {self.weights.shape(name).dtype}.",
                where=str(self.adapter.folder),
                fix="Export in the format peft.",
            )
        return content_of(stored)


def open_merged(base: Path, adapter: Path) -> Merged:
    """Raises BaseModelError when the adapter does not fit the base, or either cannot be read."""
    weights, stored = open_weights(base), read_adapter(adapter)
    layers = {_tensor_of(layer, weights, stored): layer for layer in stored.matrices}
    return Merged(weights=weights, adapter=stored, layers=layers)


def _tensor_of(layer: str, weights: StoredWeights, adapter: StoredAdapter) -> str:
    """Name of the layer's tensor; some checkpoints leave out the first part of the path, as GPT-2's does."""
    candidates = (f"{layer}.weight", f"{layer.partition('.')[2]}.weight")
    name = next((one for one in candidates if one in weights.places), None)
    if name is None:
        raise _misfit(adapter, f"it adapts {layer}, which the base does not have")
    a, b = adapter.matrices[layer]
    wanted = (a.shape[1], b.shape[0]) if adapter.transposed else (b.shape[0], a.shape[1])
    sizes = weights.shape(name).sizes
    if sizes != wanted:
        raise _misfit(adapter, f"{layer} is {_shown(sizes)} in the base and {_shown(wanted)} in the adapter")
    return name


def _shown(sizes: tuple[int, ...]) -> str:
    return " x ".join(map(str, sizes))


def _misfit(adapter: StoredAdapter, why: str) -> BaseModelError:
    named = adapter.config.get("base_model_name_or_path")
    return BaseModelError(
        f"The adapter does not fit this base: {why}.",
        where=str(adapter.folder),
        fix=f"Use it with the base that its adapter_config.json names: {named}.",
    )


def merge(base: Path, adapter: Path, out: Path) -> None:
    """Write base + adapter into the folder `out` as a base of its own, file by file as the base is.

    Sums are computed in fp32 and stored in the base's own type. Raises BaseModelError for parts that do not fit
    each other, OSError where writing fails.
    """
    merged = open_merged(base, adapter)
    for file, names in merged.weights.files.items():
        write_weights(out / file.name, {name: merged.weights.shape(name) for name in names}, merged.content)
    copy_companions(base, out, with_index=True)


def merge_in_fp32(base: Path, adapter: Path, out: Path) -> None:
    """The same in fp32 and in one file, so that nothing is rounded to the base's type."""
    merged = open_merged(base, adapter)
    stored = {name: merged.weights.shape(name) for name in merged.weights.names}
    shapes = {name: shape_as(shape, torch.float32) if shape.is_float else shape for name, shape in stored.items()}
    write_weights(out / WHOLE, shapes, lambda name: _fp32_content(merged, name))
    copy_companions(base, out, with_index=False)


def _fp32_content(merged: Merged, name: str) -> bytes:
    if not merged.weights.shape(name).is_float:
        return merged.weights.content(name)
    return content_of(merged.tensor(name).float())


def copy_companions(base: Path, out: Path, *, with_index: bool) -> None:
    """Copy what belongs to the base besides its weights; the index of split weights only where it stays true."""
    for pattern in _COMPANIONS:
        for path in sorted(base.glob(pattern)):
            if path.is_file() and (not path.name.endswith(".index.json") or (with_index and path.name == INDEX)):
                shutil.copyfile(path, out / path.name)
