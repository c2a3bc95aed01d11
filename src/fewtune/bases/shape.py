"""How large a base is, from the headers of its weights; no weight is read."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fewtune.bases.folder import describe, locate, width
from fewtune.errors import BaseModelError

_BLOCK = re.compile(r"\.(\d+)\.")
_LENGTH_BYTES = 8
"""A safetensors file begins with the length of its JSON header, ..."""
_LONGEST_HEADER = 100_000_000
"""... which by the format is no longer than this."""

Sizes = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A linear layer of a block; which of its two sides is the input does not matter here."""

    block: int
    """Counted from 0."""
    sides: int
    """Inputs and outputs together: an adapter has so many parameters for each rank."""
    largest_side: int
    adapted: bool
    """In a mixture of experts only the attention is."""
    use: float
    """Share of the tokens that go through it: below 1 for an expert."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    parameters: int
    block_parameters: int
    """Of them, those in the linear layers of the blocks."""
    vocabulary: int
    width: int
    blocks: int
    layers: tuple[Layer, ...]

    @property
    def is_mixture(self) -> bool:
        """A mixture of experts, whose feed-forward layers are left as they are."""
        return not all(layer.adapted for layer in self.layers)


def shape(base: str) -> Shape:
    """Sizes of the base; raises BaseModelError for weights whose headers cannot be read."""
    config, sizes = describe(base), _tensors(locate(base))
    if config.get("tie_word_embeddings"):
        sizes.pop("lm_head.weight", None)
    # Old files of GPT-2 keep masks of four dimensions; they are no weights.
    sizes = {name: size for name, size in sizes.items() if len(size) <= 3}
    matrices = {name: size for name, size in sizes.items() if len(size) > 1 and _BLOCK.search(name)}
    layers = tuple(_layers(matrices, _share_of_experts(config)))
    return Shape(
        parameters=sum(map(math.prod, sizes.values())),
        block_parameters=sum(map(math.prod, matrices.values())),
        vocabulary=max((max(size) for name, size in sizes.items() if size and name not in matrices), default=0),
        width=width(base),
        blocks=1 + max((layer.block for layer in layers), default=0),
        layers=layers,
    )


def _layers(matrices: Mapping[str, Sizes], share: float) -> list[Layer]:
    """One for each matrix; for a stack of experts one for each of them."""
    mixture = any(_is_expert(name) for name in matrices)
    found: list[Layer] = []
    for name, size in matrices.items():
        layer = Layer(
            block=int(_BLOCK.findall(name)[0]),
            sides=sum(size[-2:]),
            largest_side=max(size[-2:]),
            adapted=not mixture or "attn" in name or "attention" in name,
            use=share if _is_expert(name) else 1.0,
        )
        found.extend([layer] * (size[0] if len(size) == 3 else 1))
    return found


def _is_expert(name: str) -> bool:
    return ".experts." in name


def _share_of_experts(config: Mapping[str, Any]) -> float:
    """How many of the experts a token goes through."""
    experts = config.get("num_local_experts") or config.get("num_experts") or 1
    return min(1.0, config.get("num_experts_per_tok", experts) / experts)


def _tensors(folder: Path) -> dict[str, Sizes]:
    """Sizes of every tensor that transformers would read: other safetensors may lie beside them."""
    whole = folder / "model.safetensors"
    files = [whole] if whole.exists() else sorted(folder.glob("model-*.safetensors"))
    return {name: size for path in files or sorted(folder.glob("*.safetensors")) for name, size in _header(path)}


def _header(path: Path) -> list[tuple[str, Sizes]]:
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
            header: dict[str, Any] = json.loads(file.read(min(length, _LONGEST_HEADER)))
        return [(name, tuple(entry["shape"])) for name, entry in header.items() if name != "__metadata__"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BaseModelError(
            "The header of the base's weights cannot be read.", where=str(path), fix="Fetch or copy the file again."
        ) from error
