"""Muon for the matrices inside the blocks, AdamW for everything else."""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor, nn

MUON_RATE, ADAM_RATE = 0.02, 3e-3
MUON_DECAY = 0.1


def orthogonalise(matrices: Tensor, steps: int = 5) -> Tensor:
    """Newton–Schulz iteration towards the nearest orthogonal matrices; source: Jordan et al., "Muon" (2024).

    `matrices` (..., rows, columns) are taken one by one; on CUDA in bf16, which is enough for a direction.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x.bfloat16() if x.is_cuda else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if tall else x).to(matrices.dtype)


class Muon(torch.optim.Optimizer):
    """Momentum whose step is made orthogonal, scaled so that its size matches AdamW's (Liu et al., 2025).

    Matrices of one shape take their step together: on a GPU a few large products instead of many small ones.
    """

    def __init__(self, parameters: list[Tensor], learning_rate: float, momentum: float = 0.95, decay: float = 0.0):
        alike: defaultdict[torch.Size, list[Tensor]] = defaultdict(list)
        for parameter in parameters:
            alike[parameter.shape].append(parameter)
        groups = [{"params": members} for members in alike.values()]
        super().__init__(groups, {"lr": learning_rate, "momentum": momentum, "decay": decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            parameters: list[Tensor] = group["params"]
            buffers = [self.state[p].setdefault("momentum", torch.zeros_like(p)) for p in parameters]
            gradients = [p.grad for p in parameters]
            torch._foreach_lerp_(buffers, gradients, 1 - group["momentum"])  # pyright: ignore[reportPrivateUsage]
            ahead = torch.stack(gradients).lerp(torch.stack(buffers), group["momentum"])
            rows, columns = parameters[0].shape
            update = orthogonalise(ahead) * max(1.0, rows / columns) ** 0.5
            for parameter, change in zip(parameters, update, strict=True):
                parameter.mul_(1 - group["lr"] * group["decay"])
                parameter.add_(change, alpha=-group["lr"])


def optimizers(model: nn.Module) -> list[torch.optim.Optimizer]:
    """Each with its peak rate in the group's `initial_lr`, which the schedule multiplies."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    matrix_ids = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in matrix_ids]
    adam = torch.optim.AdamW(others, ADAM_RATE, betas=(0.9, 0.95), weight_decay=0.0, fused=others[0].is_cuda)
    made = [Muon(matrices, MUON_RATE, decay=MUON_DECAY), adam]
    for optimizer in made:
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return made
