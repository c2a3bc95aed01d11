"""The bases that are measured: the built-in one, and known shapes with random weights."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from safetensors import safe_open

from bench.child import ROOT, measure
from fewtune.bases.folder import BUILT_IN, locate

CACHE = ROOT / "build" / "bench" / "bases"
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
_BUILT_IN_IDS = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A model's architecture and sizes, as transformers names them."""

    kind: str
    sizes: Mapping[str, Any]


SHAPES: Mapping[str, Shape] = MappingProxyType(
    {
        "smollm2-135m": Shape(
            kind="llama",
            sizes={
                "hidden_size": 576,
                "num_hidden_layers": 30,
                "num_attention_heads": 9,
                "num_key_value_heads": 3,
                "intermediate_size": 1536,
                "vocab_size": 49152,
            },
        ),
        # transformers' Qwen2 always has biases on query, key and value.
        "qwen2.5-0.5b": Shape(
            kind="qwen2",
            sizes={
                "hidden_size": 896,
                "num_hidden_layers": 24,
                "num_attention_heads": 14,
                "num_key_value_heads": 2,
                "intermediate_size": 4864,
                "vocab_size": 151936,
            },
        ),
    }
)
NAMES = (BUILT_IN, *SHAPES)


def base(name: str) -> str:
    """What `fewtune` calls the base: `pocket`, or the folder of a shape, which is made when first asked for."""
    if name == BUILT_IN:
        return BUILT_IN
    folder = CACHE / name
    if not (folder / "config.json").exists():
        measure("bench.bases:make", {"name": name, "folder": str(folder)})
    return str(folder)


def make(job: Mapping[str, str]) -> dict[str, int]:
    """Write the shape's folder, in bf16, with the built-in tokenizer: its ids exist in every larger vocabulary."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    shape, folder = SHAPES[job["name"]], Path(job["folder"])
    unfinished = folder.with_name(folder.name + ".partial")
    shutil.rmtree(unfinished, ignore_errors=True)
    torch.manual_seed(0)
    common = {"tie_word_embeddings": True, "max_position_embeddings": 2048, **_BUILT_IN_IDS}
    config = AutoConfig.for_model(shape.kind, **shape.sizes, **common)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(unfinished)
    for file in _TOKENIZER_FILES:
        shutil.copy(locate(BUILT_IN) / file, unfinished)
    unfinished.replace(folder)
    return {"parameters": parameters(str(folder))}


def parameters(base: str) -> int:
    """All of the base's parameters, from its files; tied embeddings are stored, and counted, once."""
    return sum(_parameters(path) for path in locate(base).glob("*.safetensors"))


def _parameters(path: Path) -> int:
    with safe_open(path, framework="numpy") as file:
        return sum(math.prod(file.get_slice(name).get_shape()) for name in list(file.keys()))
