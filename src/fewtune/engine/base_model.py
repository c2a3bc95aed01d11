"""A base in memory, frozen."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from fewtune.bases.folder import describe, locate, open_encoder
from fewtune.data.encode import Encoder
from fewtune.engine import devices, llama
from fewtune.engine.body import Body
from fewtune.engine.json_grammar import JsonGrammars
from fewtune.engine.precision import chosen, own_blocks
from fewtune.engine.prefix import BYTES_IN_MEMORY, Prefixes
from fewtune.engine.products import linear
from fewtune.engine.recorded import Recordings
from fewtune.engine.workers import Workers
from fewtune.types import Precision


@dataclass(frozen=True, kw_only=True)
class BaseModel:
    """A frozen causal language model with its tokenizer; adapters are laid over it, never into it."""

    name: str
    folder: Path
    body: Body
    encoder: Encoder
    device: torch.device

    @property
    def on_cpu(self) -> bool:
        return self.device.type == "cpu"

    @property
    def parameters(self) -> int:
        return self.body.parameters

    @property
    def dtype(self) -> torch.dtype:
        """Of activations; adapters are fp32."""
        return self.body.dtype

    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden states (..., D) to fp32 logits (..., V)."""
        return linear(hidden, self.body.head, self.body.head_bias).float()

    @cached_property
    def prefixes(self) -> Prefixes:
        """What the frozen lower blocks made of the examples, for all trainings that adapt the upper part only."""
        return Prefixes(BYTES_IN_MEMORY // (devices.cores() if self.on_cpu else 1))

    @cached_property
    def recordings(self) -> Recordings | None:
        """Training passes on CUDA; None where something in them waits for the host, or is not known to do without."""
        known = self.device.type == "cuda" and isinstance(self.body, llama.Llama) and self.dtype == torch.bfloat16
        return Recordings() if known else None

    @cached_property
    def json_grammars(self) -> JsonGrammars:
        """Raises UsageError where llguidance is missing, or does not know the tokenizer."""
        return JsonGrammars(self.encoder, self.body.head.shape[0])

    @cached_property
    def workers(self) -> Workers:
        """Started when first needed, with the base as it is then."""
        return Workers(self, on_cpu=self.on_cpu)


def load(base: str, *, precision: Precision | None = None, recipe: str | None = None) -> BaseModel:
    """Load the base frozen; without a precision in fp32 on the CPU and in bf16 on CUDA.

    In bf16 on a CPU only its matrices are, and activations are rounded for the products with them alone. Without a
    recipe the base's own is taken.

    Raises UsageError for a precision that cannot be had, BaseModelError for a base that cannot be loaded, or whose
    logits are not simply head(body(ids)).
    """
    encoder, folder, device = open_encoder(base, recipe), locate(base), devices.best()
    body = _body(base, folder, device, chosen(precision, device))
    return BaseModel(name=base, folder=folder, body=body, encoder=encoder, device=device)


def _body(base: str, folder: Path, device: torch.device, precision: Precision) -> Body:
    config, dtype = describe(base), torch.bfloat16 if device.type == "cuda" else torch.float32
    if own_blocks(config, precision, device):
        matrices = torch.bfloat16 if precision == "bf16" else None
        return llama.Llama(folder, config, device, dtype, matrices=matrices)
    # Only here: transformers takes seconds to import, and the built-in base does without.
    from fewtune.engine.transformers_body import TransformersBody

    return TransformersBody(folder, device, dtype, four_bit=precision == "4bit")
