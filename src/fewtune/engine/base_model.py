"""A base in memory, frozen."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import linear

from fewtune.bases.folder import describe, locate, open_encoder
from fewtune.data.encode import Encoder
from fewtune.engine import devices, llama
from fewtune.engine.body import Body
from fewtune.engine.json_grammar import JsonGrammars
from fewtune.engine.prefix import BYTES_IN_MEMORY, Prefixes
from fewtune.engine.recorded import Recordings
from fewtune.engine.workers import Workers


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
        """Of the base and its activations; adapters are fp32."""
        return self.body.head.dtype

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


def load(base: str, *, four_bit: bool = False, recipe: str | None = None) -> BaseModel:
    """Load the base frozen, in fp32 on the CPU and bf16 on CUDA, there in 4 bits if that is asked for.

    Without a recipe the base's own is taken.

    Raises UsageError for 4 bits where they cannot be had, BaseModelError for a base that cannot be loaded, or
    whose logits are not simply head(body(ids)).
    """
    encoder, folder, device = open_encoder(base, recipe), locate(base), devices.best()
    if four_bit:
        devices.check_four_bit(device)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    body = _body(base, folder, device, dtype, four_bit)
    return BaseModel(name=base, folder=folder, body=body, encoder=encoder, device=device)


def _body(base: str, folder: Path, device: torch.device, dtype: torch.dtype, four_bit: bool) -> Body:
    config = describe(base)
    if llama.supports(config) and not four_bit:
        return llama.Llama(folder, config, device, dtype)
    # Only here: transformers takes seconds to import, and the built-in base does without.
    from fewtune.engine.transformers_body import TransformersBody

    return TransformersBody(folder, device, dtype, four_bit=four_bit)
