"""Find a sentence encoder and refuse an unsafe one; without torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from fewtune.bases.folder import find, safe_config
from fewtune.errors import BaseModelError, UsageError

_LIBRARY = "sentence_transformers."
_WITH_WEIGHTS = ("Dense", "LayerNorm", "StaticEmbedding")
"""Besides the Transformer, whose weights may lie in several files."""
_POOLING = ("Pooling", "StaticEmbedding")
"""What makes one vector of a text; without one of these it is another kind of model, such as a reranker."""
_KNOWN = (*_WITH_WEIGHTS, "Transformer", "Pooling", "Normalize", "Dropout")
_WEIGHTS = "model.safetensors"
_ADAPTER = "adapter_config.json"
_EXAMPLE = (
    "Give a folder as sentence-transformers saves it, or a hub id such as sentence-transformers/all-MiniLM-L6-v2."
)


@dataclass(frozen=True, kw_only=True)
class _Module:
    kind: str
    """The last part of the name of its class."""
    folder: Path


def locate_encoder(encoder: str) -> Path:
    """The folder of a sentence encoder, a local one or a hub id, which is fetched; checked to be safe to load.

    Raises UsageError where there is no such folder, ProviderError when the hub cannot be reached, and BaseModelError
    for a folder that is no sentence encoder, that wants to run code of its own, or that keeps weights in pickle files.
    """
    folder = find(encoder, "sentence encoder")
    if folder is None:
        raise UsageError(
            f"There is no sentence encoder {encoder!r}: no such folder, and not a hub id of the form owner/name.",
            where="--sentence-encoder",
            fix=_EXAMPLE,
        )
    modules = _modules(folder)
    if not any(module.kind in _POOLING for module in modules):
        what = "The model makes no vector of a text (it has no pooling), so it is no sentence encoder."
        raise BaseModelError(what, where=str(folder), fix=_EXAMPLE)
    for module in modules:
        _check_weights(module)
    return folder


def _modules(folder: Path) -> tuple[_Module, ...]:
    """What the encoder is made of, in order."""
    path = folder / "modules.json"
    try:
        listed = cast("Sequence[dict[str, Any]]", json.loads(path.read_text(encoding="utf-8")))
        named = [(str(one["type"]), str(one["path"])) for one in listed]
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        what = "No readable modules.json in the folder, so it is no sentence encoder."
        raise BaseModelError(what, where=str(folder), fix=_EXAMPLE) from error
    for kind, place in named:
        if not kind.startswith(_LIBRARY) or _last(kind) not in _KNOWN:
            what = f"The sentence encoder has a part of the kind {kind!r}; only {', '.join(_KNOWN)} are loaded."
            raise BaseModelError(what, where=str(path), fix="Choose another encoder.")
        if place not in ("", Path(place).name) or place == "..":
            what = f"The sentence encoder has a part at {place!r}, which is no folder beside modules.json."
            raise BaseModelError(what, where=str(path), fix="Choose another encoder.")
    return tuple(_Module(kind=_last(kind), folder=folder / place) for kind, place in named)


def _check_weights(module: _Module) -> None:
    if module.kind == "Transformer":
        safe_config(module.folder, "sentence encoder")
        if (module.folder / _ADAPTER).exists():
            what = f"The sentence encoder is an adapter over another model ({_ADAPTER}), which is not loaded."
            raise BaseModelError(what, where=str(module.folder), fix="Merge the two and save the whole.")
    elif module.kind in _WITH_WEIGHTS and not (module.folder / _WEIGHTS).is_file():
        what = f"The sentence encoder's {module.kind} has no {_WEIGHTS}; pickled weights are not read."
        raise BaseModelError(what, where=str(module.folder), fix="Convert the weights to safetensors first.")


def _last(kind: str) -> str:
    return kind.rpartition(".")[2]
