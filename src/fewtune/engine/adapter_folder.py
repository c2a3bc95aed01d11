"""Adapters as folders in PEFT's format, written and opened for a base in memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save as to_bytes
from torch import Tensor

from fewtune.engine.base_model import BaseModel
from fewtune.engine.lora import Adapter, empty, lowest_layer
from fewtune.engine.stored_adapter import CONFIG, WEIGHTS, StoredAdapter, read_adapter
from fewtune.errors import BaseModelError


def save(adapter: Adapter, folder: Path, base: BaseModel) -> None:
    """Write adapter_model.safetensors and adapter_config.json as PEFT does, into a folder that exists."""
    tensors: dict[str, Tensor] = {}
    for name, (a, b) in adapter.matrices.items():
        tensors[f"base_model.model.{name}.lora_A.weight"] = a.detach().cpu().contiguous()
        tensors[f"base_model.model.{name}.lora_B.weight"] = b.T.detach().cpu().contiguous()
    # Not safetensors' own writing: a full disk must come as an OSError.
    (folder / WEIGHTS).write_bytes(to_bytes(tensors, metadata={"format": "pt"}))
    (folder / CONFIG).write_text(json.dumps(_config(adapter, base), indent=2) + "\n")


def _config(adapter: Adapter, base: BaseModel) -> dict[str, Any]:
    first, sites = lowest_layer(adapter), [site for group in adapter.groups for site in group.sites]
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base.name,
        "r": adapter.rank,
        "lora_alpha": adapter.alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": sorted({site.name.rpartition(".")[2] for site in sites}),
        "layers_to_transform": list(range(first, base.body.layers)) if first else None,
        "fan_in_fan_out": any(site.transposed for site in sites),
        "inference_mode": True,
    }


def open_adapter(folder: Path, base: BaseModel) -> Adapter:
    """Read a PEFT-format LoRA adapter; raises BaseModelError when it belongs to another base."""
    stored = read_adapter(folder)
    adapted = {name.rpartition(".")[2] for name in stored.matrices}
    first = min((g.layer for g in base.body.groups if any(s.name in stored.matrices for s in g.sites)), default=0)
    groups = tuple(group for group in base.body.groups if group.layer >= first)
    known = {site.name for group in groups for site in group.sites}
    if not known.issuperset(stored.matrices):
        raise _misfit(stored, next(name for name in stored.matrices if name not in known))
    adapter = empty(groups, stored.rank, stored.config["lora_alpha"], base.device)
    for name, (a, b) in adapter.matrices.items():
        if name in stored.matrices:
            _fill(stored, name, a, b)
        elif name.rpartition(".")[2] in adapted:
            raise _misfit(stored, name)
    return adapter


def _fill(stored: StoredAdapter, name: str, a: Tensor, b: Tensor) -> None:
    stored_a, stored_b = stored.matrices[name]
    if stored_a.shape != a.shape or stored_b.T.shape != b.shape:
        raise _misfit(stored, name)
    a.copy_(stored_a)
    b.copy_(stored_b.T)


def _misfit(stored: StoredAdapter, layer: str) -> BaseModelError:
    return BaseModelError(
        f"The adapter does not fit this base: layer {layer} is missing or has another shape.",
        where=str(stored.folder),
        fix="Use it with the base that its adapter_config.json names.",
    )
