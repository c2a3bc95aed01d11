"""Random LoRA adapters made, used and saved by PEFT itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import torch
from transformers import AutoModelForCausalLM

IDS = torch.tensor([[0, 40, 50, 60, 70, 80, 90, 100, 110, 120, 130, 140]])


def save_adapter(base: Path, folder: Path, *, rank: int = 4, alpha: int = 8, **config: Any) -> torch.Tensor:
    """Save an adapter over every linear layer of the base; gives the logits of IDS through both."""
    bare = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    given = {"target_modules": "all-linear", **config}
    model = peft.get_peft_model(bare, peft.LoraConfig(task_type="CAUSAL_LM", r=rank, lora_alpha=alpha, **given)).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_(0.0, 0.2, generator=generator)
        model.save_pretrained(folder)
        return model(input_ids=IDS).logits


def logits_of(folder: Path, **options: Any) -> torch.Tensor:
    """What transformers makes of a model's folder."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **options).eval()
    with torch.no_grad():
        return model(input_ids=IDS).logits
