"""Low-rank adapters over frozen linear layers (Hu et al., "LoRA", 2021), in PEFT's file format."""

from __future__ import annotations

import json
import math
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from fewtune.engine.base_model import BaseModel
from fewtune.errors import BaseModelError, TrainingError

_PLAIN = "Only plain LoRA over all linear layers is read."


@dataclass(frozen=True, kw_only=True)
class Site:
    """One linear layer that is adapted."""

    name: str
    """Path of the module inside the base, as PEFT writes it."""
    inputs: int
    outputs: int
    transposed: bool
    """GPT-2 keeps its weights as (inputs, outputs); PEFT calls that fan_in_fan_out."""


@dataclass(kw_only=True)
class Adapter:
    """A and B of every site, as views of one flat vector, so that one optimizer step is one vector operation."""

    sites: tuple[Site, ...]
    rank: int
    alpha: int
    flat: Tensor
    """(N,) all parameters."""
    matrices: dict[str, tuple[Tensor, Tensor]]
    """Site name to A (rank, inputs) and B (outputs, rank); leaves that share `flat`'s memory."""

    @property
    def scale(self) -> float:
        return self.alpha / self.rank


class AdaptedLinear(nn.Module):
    """A frozen linear layer plus scale * B A x of whichever adapter is in use."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base = base
        self.matrices: tuple[Tensor, Tensor] | None = None
        self.scale = 1.0

    def forward(self, x: Tensor) -> Tensor:
        if self.matrices is None:
            return self.base(x)
        a, b = self.matrices
        y = self.base(x)
        # The adapter stays in fp32 where the base runs in bf16.
        return y + ((x.to(a.dtype) @ a.T) @ (b.T * self.scale)).to(y.dtype)


def sites_of(model: nn.Module) -> tuple[Site, ...]:
    """Every linear layer but the output head, in the model's own order."""
    head = model.get_output_embeddings()  # type: ignore[operator]
    found: list[Site] = []
    for name, module in model.named_modules():
        layer = module.base if isinstance(module, AdaptedLinear) else module
        if layer is head or name.endswith(".base"):
            continue
        if isinstance(layer, nn.Linear):
            site = Site(name=name, inputs=layer.in_features, outputs=layer.out_features, transposed=False)
            found.append(site)
        elif isinstance(layer, Conv1D):
            found.append(Site(name=name, inputs=layer.nx, outputs=layer.nf, transposed=True))
    if not found:
        raise BaseModelError("The base has no linear layer to adapt.")
    return tuple(found)


def attach(base: BaseModel) -> tuple[Site, ...]:
    """Wrap every site of the base once, so that adapters can be put to use and taken away; idempotent."""
    sites = sites_of(base.model)
    for site in sites:
        parent_name, _, leaf = site.name.rpartition(".")
        parent = base.model.get_submodule(parent_name)
        module = getattr(parent, leaf)
        if not isinstance(module, AdaptedLinear):
            setattr(parent, leaf, AdaptedLinear(module))
    return sites


@contextmanager
def in_use(base: BaseModel, adapter: Adapter | None) -> Generator[None, None, None]:
    """Within the block the base answers with this adapter; None is the bare base."""
    layers = [module for module in base.model.modules() if isinstance(module, AdaptedLinear)]
    chosen = adapter.matrices.values() if adapter else [None] * len(layers)
    for layer, matrices in zip(layers, chosen, strict=True):
        layer.matrices, layer.scale = matrices, adapter.scale if adapter else 1.0
    try:
        yield
    finally:
        for layer in layers:
            layer.matrices = None


def create(sites: tuple[Site, ...], rank: int, alpha: int, seed: int, device: torch.device) -> Adapter:
    """A new adapter: A as PEFT draws it (Kaiming uniform, a = sqrt 5), B zero, so it begins as the bare base.

    Raises TrainingError for a rank above the width of a layer.
    """
    narrowest = min(sites, key=lambda site: min(site.inputs, site.outputs))
    if rank > min(narrowest.inputs, narrowest.outputs):
        raise TrainingError(
            f"Rank {rank} is above the width of layer {narrowest.name} ({narrowest.outputs} x {narrowest.inputs}).",
            fix="Choose a smaller rank.",
        )
    size = sum(rank * (site.inputs + site.outputs) for site in sites)
    adapter = _over(sites, rank, alpha, torch.zeros(size, device=device))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for site in sites:
            bound = 1 / math.sqrt(site.inputs)
            drawn = torch.empty(rank, site.inputs).uniform_(-bound, bound, generator=generator)
            adapter.matrices[site.name][0].copy_(drawn)
    return adapter


def _over(sites: tuple[Site, ...], rank: int, alpha: int, flat: Tensor) -> Adapter:
    matrices: dict[str, tuple[Tensor, Tensor]] = {}
    begin = 0
    for site in sites:
        middle = begin + rank * site.inputs
        end = middle + site.outputs * rank
        a = flat[begin:middle].view(rank, site.inputs).detach().requires_grad_()
        b = flat[middle:end].view(site.outputs, rank).detach().requires_grad_()
        matrices[site.name] = (a, b)
        begin = end
    return Adapter(sites=sites, rank=rank, alpha=alpha, flat=flat, matrices=matrices)


def save(adapter: Adapter, folder: Path, base_name: str) -> None:
    """Write adapter_model.safetensors and adapter_config.json as PEFT does, into a folder that exists."""
    tensors: dict[str, Tensor] = {}
    for name, (a, b) in adapter.matrices.items():
        tensors[f"base_model.model.{name}.lora_A.weight"] = a.detach().cpu().contiguous()
        tensors[f"base_model.model.{name}.lora_B.weight"] = b.detach().cpu().contiguous()
    # Not safetensors' own writing: a full disk must come as an OSError.
    (folder / "adapter_model.safetensors").write_bytes(to_bytes(tensors, metadata={"format": "pt"}))
    (folder / "adapter_config.json").write_text(json.dumps(_peft_config(adapter, base_name), indent=2) + "\n")


def _peft_config(adapter: Adapter, base_name: str) -> dict[str, Any]:
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_name,
        "r": adapter.rank,
        "lora_alpha": adapter.alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": sorted({site.name.rpartition(".")[2] for site in adapter.sites}),
        "fan_in_fan_out": any(site.transposed for site in adapter.sites),
        "inference_mode": True,
    }


def open_adapter(folder: Path, base: BaseModel) -> Adapter:
    """Read a PEFT-format LoRA adapter; raises BaseModelError when it belongs to another base."""
    try:
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        tensors = load_file(folder / "adapter_model.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        raise BaseModelError("No readable adapter here.", where=str(folder)) from error
    _check_plain(config, folder)
    sites = attach(base)
    size = sum(config["r"] * (site.inputs + site.outputs) for site in sites)
    adapter = _over(sites, config["r"], config["lora_alpha"], torch.zeros(size, device=base.device))
    with torch.no_grad():
        for name, (a, b) in adapter.matrices.items():
            _fill(a, tensors.get(f"base_model.model.{name}.lora_A.weight"), name, folder)
            _fill(b, tensors.get(f"base_model.model.{name}.lora_B.weight"), name, folder)
    if len(tensors) > 2 * len(sites):
        raise BaseModelError("The adapter changes more than the base's linear layers.", where=str(folder), fix=_PLAIN)
    return adapter


def _check_plain(config: dict[str, Any], folder: Path) -> None:
    """Refuse the kinds of LoRA whose numbers would come out wrong without a word."""
    kinds = ("use_rslora", "use_dora", "rank_pattern", "alpha_pattern", "lora_bias")
    unknown = [name for name in kinds if config.get(name)]
    if config.get("peft_type") != "LORA" or unknown:
        named = ", ".join(unknown) or f"peft_type {config.get('peft_type')}"
        raise BaseModelError(f"The adapter is of another kind ({named}).", where=str(folder), fix=_PLAIN)


def _fill(parameter: Tensor, stored: Tensor | None, name: str, folder: Path) -> None:
    if stored is None or stored.shape != parameter.shape:
        raise BaseModelError(
            f"The adapter does not fit this base: layer {name} is missing or has another shape.",
            where=str(folder),
            fix="Use it with the base that its adapter_config.json names.",
        )
    parameter.copy_(stored)
