"""What transformers and PEFT make of the same rows: padded to one length, in their own attention."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import peft
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM

from fewtune.data.encode import Encoded
from fewtune.engine.lora import Adapter


def plain_model(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


def peft_model(folder: Path, adapter: Adapter) -> Any:
    """PEFT's model of the same base with the same A and B, ready to train."""
    sites = [site for group in adapter.groups for site in group.sites]
    config = peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=adapter.rank,
        lora_alpha=adapter.alpha,
        target_modules=[site.name for site in sites],
        fan_in_fan_out=any(site.transposed for site in sites),
    )
    model = peft.get_peft_model(plain_model(folder), config)
    with torch.no_grad():
        for name, (a, b) in adapter.matrices.items():
            layer = model.base_model.model.get_submodule(name)
            layer.lora_A["default"].weight.copy_(a)
            layer.lora_B["default"].weight.copy_(b.T)
    return model


def peft_gradient(model: Any, adapter: Adapter) -> dict[str, tuple[Tensor, Tensor]]:
    """Of each layer's A and B, as `Adapter.matrices` has them."""
    layers = {name: model.base_model.model.get_submodule(name) for name in adapter.matrices}
    return {
        name: (layer.lora_A["default"].weight.grad, layer.lora_B["default"].weight.grad.T)
        for name, layer in layers.items()
    }


def losses(model: Any, examples: Sequence[Encoded]) -> list[Tensor]:
    """Of each example's trained tokens, one by one, from one batch padded on the right."""
    width = max(len(one.ids) for one in examples)
    ids = torch.tensor([[*one.ids, *[0] * (width - len(one.ids))] for one in examples])
    mask = torch.tensor([[1] * len(one.ids) + [0] * (width - len(one.ids)) for one in examples])
    logits = model(input_ids=ids, attention_mask=mask).logits
    return [
        cross_entropy(row[: len(one.ids) - 1], torch.tensor(one.ids[1:]), reduction="none")[
            torch.tensor(one.trained[1:])
        ]
        for row, one in zip(logits, examples, strict=True)
    ]
