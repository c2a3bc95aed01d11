"""Muon for the matrices inside the blocks, AdamW for everything else."""

from __future__ import annotations

import torch
from torch import Tensor


def orthogonalise(matrix: Tensor, steps: int = 5) -> Tensor:
    """Newton–Schulz iteration towards the nearest orthogonal matrix; source: Jordan et al., "Muon" (2024)."""
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """Momentum whose step is made orthogonal, scaled so that its size matches AdamW's (Liu et al., 2025)."""

    def __init__(self, parameters: list[Tensor], learning_rate: float, momentum: float = 0.95, decay: float = 0.0):
        super().__init__(parameters, {"lr": learning_rate, "momentum": momentum, "decay": decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                buffer = self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
                buffer.lerp_(parameter.grad, 1 - group["momentum"])
                update = orthogonalise(parameter.grad.lerp(buffer, group["momentum"]))
                scale = max(1.0, parameter.shape[0] / parameter.shape[1]) ** 0.5
                parameter.mul_(1 - group["lr"] * group["decay"])
                parameter.add_(update, alpha=-group["lr"] * scale)


def optimizers(model: torch.nn.Module) -> list[torch.optim.Optimizer]:
    """Each with its peak rate in the group's `initial_lr`, which the schedule multiplies."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    matrix_ids = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in matrix_ids]
    made = [Muon(matrices, 0.02, decay=0.01), torch.optim.AdamW(others, 3e-3, betas=(0.9, 0.95), weight_decay=0.0)]
    for optimizer in made:
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return made
