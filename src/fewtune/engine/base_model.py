"""A base in memory, frozen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fewtune.bases.folder import locate, open_encoder
from fewtune.data.encode import Encoder
from fewtune.engine.batching import ATTENTION
from fewtune.errors import BaseModelError


@dataclass(frozen=True, kw_only=True)
class BaseModel:
    """A frozen causal language model with its tokenizer; adapters are laid over it, never into it."""

    name: str
    folder: Path
    model: Any
    """A transformers causal LM in evaluation mode; no parameter requires a gradient."""
    encoder: Encoder
    device: torch.device

    @property
    def body(self) -> Any:
        """The blocks: ids in, hidden states (B, T, D) out."""
        return self.model.base_model

    @property
    def head(self) -> nn.Module:
        """Hidden states (..., D) to logits (..., V)."""
        return self.model.get_output_embeddings()

    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden states (..., D) to the fp32 logits (..., V) that the whole model would give."""
        logits = self.head(hidden).float()
        cap = getattr(self.model.config, "final_logit_softcapping", None)
        return cap * torch.tanh(logits / cap) if cap else logits

    @property
    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.model.parameters())


def load(base: str) -> BaseModel:
    """Load the base frozen, in fp32 on the CPU and bf16 on CUDA.

    Raises BaseModelError for a kind whose logits are not simply head(body(ids)).
    """
    encoder, folder = open_encoder(base), locate(base)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = _load_weights(folder, device)
    model.requires_grad_(False)
    model.eval()
    loaded = BaseModel(name=base, folder=folder, model=model, encoder=encoder, device=device)
    _check_logits(loaded)
    return loaded


@torch.inference_mode()
def _check_logits(base: BaseModel) -> None:
    """Some kinds scale between body and head: better refused than trained on another loss."""
    ids = torch.arange(4, device=base.device)[None]
    whole = base.model(input_ids=ids, use_cache=False).logits.float()
    ours = base.logits(base.body(input_ids=ids, use_cache=False).last_hidden_state)
    # bf16 keeps two to three digits.
    if not torch.allclose(ours, whole, rtol=1e-2, atol=1e-2):
        raise BaseModelError(
            f"Bases of the kind {base.model.config.model_type!r} cannot be tuned: they scale their logits.",
            where=str(base.folder),
            fix="Choose a base of another kind, such as Llama, Qwen, Mistral, GPT-2 or GPT-NeoX.",
        )


def _load_weights(folder: Path, device: torch.device) -> Any:
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=torch.bfloat16 if device.type == "cuda" else torch.float32,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            attn_implementation=ATTENTION,
        )
        return model.to(device)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise BaseModelError(f"The base could not be loaded: {error}", where=str(folder)) from error
