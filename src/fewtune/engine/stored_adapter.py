"""A LoRA adapter as PEFT writes it, read by the names of its tensors, without its base."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from fewtune.errors import BaseModelError

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_TENSOR = re.compile(r"base_model\.model\.(?P<layer>.+)\.lora_(?P<side>[AB])\.weight")
_PLAIN = "Only plain LoRA over linear layers is read."
_OTHER_KINDS = (
    "use_rslora",
    "use_dora",
    "use_qalora",
    "use_bdlora",
    "rank_pattern",
    "alpha_pattern",
    "lora_bias",
    "modules_to_save",
    "trainable_token_indices",
    "target_parameters",
    "layer_replication",
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "monteclora_config",
    "velora_config",
)
"""Fields of PEFT's config that change what A and B mean, or add to them."""


@dataclass(frozen=True, kw_only=True)
class StoredAdapter:
    folder: Path
    config: Mapping[str, Any]
    rank: int
    scale: float
    """alpha / rank."""
    transposed: bool
    """The base keeps its weights as (inputs, outputs), as GPT-2 does; PEFT calls that fan_in_fan_out."""
    matrices: Mapping[str, tuple[Tensor, Tensor]]
    """Path of the layer inside the base to A (rank, inputs) and B (outputs, rank)."""


def read_adapter(folder: Path) -> StoredAdapter:
    """Raises BaseModelError where there is none, or one whose numbers would be misread as plain LoRA."""
    if not (folder / WEIGHTS).exists() and any(folder.glob("*.bin")):
        raise BaseModelError(
            "The adapter's weights are pickled, and pickles are not read.",
            where=str(folder),
            fix="Save it again with PEFT's save_pretrained(..., safe_serialization=True).",
        )
    try:
        config: dict[str, Any] = dict(json.loads((folder / CONFIG).read_text(encoding="utf-8")))
        tensors = load_file(folder / WEIGHTS)
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        raise BaseModelError("No readable adapter here.", where=str(folder)) from error
    _check_plain(config, folder)
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if not isinstance(rank, int) or rank < 1 or not isinstance(alpha, int | float):
        raise BaseModelError("The adapter's config names no rank r and lora_alpha.", where=str(folder / CONFIG))
    return StoredAdapter(
        folder=folder,
        config=config,
        rank=rank,
        scale=alpha / rank,
        transposed=bool(config.get("fan_in_fan_out")),
        matrices=_matrices(tensors, rank, folder),
    )


def _check_plain(config: Mapping[str, Any], folder: Path) -> None:
    unknown = [name for name in _OTHER_KINDS if config.get(name)]
    if config.get("bias", "none") != "none":
        unknown.append(f"bias {config['bias']}")
    if config.get("peft_type") != "LORA":
        unknown.append(f"peft_type {config.get('peft_type')}")
    if unknown:
        raise BaseModelError(f"The adapter is of another kind ({', '.join(unknown)}).", where=str(folder), fix=_PLAIN)


def _matrices(tensors: Mapping[str, Tensor], rank: int, folder: Path) -> dict[str, tuple[Tensor, Tensor]]:
    sides: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        found = _TENSOR.fullmatch(name)
        if found is None:
            raise BaseModelError(f"The adapter has a tensor {name!r}.", where=str(folder), fix=_PLAIN)
        sides.setdefault(found["layer"], {})[found["side"]] = tensor
    if not sides:
        raise BaseModelError("The adapter adapts nothing.", where=str(folder))
    return {layer: _pair(layer, found, rank, folder) for layer, found in sides.items()}


def _pair(layer: str, sides: Mapping[str, Tensor], rank: int, folder: Path) -> tuple[Tensor, Tensor]:
    a, b = sides.get("A"), sides.get("B")
    if a is None or b is None:
        raise BaseModelError(f"The adapter has only one of A and B for layer {layer}.", where=str(folder))
    if a.ndim != 2 or b.ndim != 2 or a.shape[0] != rank or b.shape[1] != rank:
        shapes = f"A {_shown(a)} and B {_shown(b)}"
        raise BaseModelError(f"Layer {layer} has {shapes}, where the config says rank {rank}.", where=str(folder))
    return a, b


def _shown(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "()"
