"""A training on disk: weights, both optimizers, and where it stood."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

NAME = "checkpoint.safetensors"


@dataclass(frozen=True, kw_only=True)
class Mark:
    step: int
    seconds: float
    """Spent on training up to here, over all sittings."""


def save(work: Path, model: nn.Module, optimizers: list[torch.optim.Optimizer], mark: Mark) -> None:
    """Write the checkpoint aside and put it in the place of the one before, which a full disk leaves as it is."""
    tensors = {f"model.{name}": parameter.detach() for name, parameter in model.named_parameters()}
    for name, state in _states(optimizers).items():
        tensors |= {f"{name}.{key}": value.reshape(-1) if value.ndim == 0 else value for key, value in state.items()}
    temporary = work / "checkpoint.partial"
    metadata = {"step": str(mark.step), "seconds": str(mark.seconds)}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary, metadata=metadata)
    with temporary.open("rb") as written:
        os.fsync(written.fileno())
    os.replace(temporary, work / NAME)


def resume(work: Path, model: nn.Module, optimizers: list[torch.optim.Optimizer]) -> Mark:
    """Take over the checkpoint, if there is one. Raises ValueError for a damaged one or one of another shape."""
    path = work / NAME
    if not path.exists():
        return Mark(step=0, seconds=0.0)
    try:
        with safe_open(path, "pt") as opened:
            metadata: dict[str, str] = opened.metadata()
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} cannot be read ({error}); remove it to start over.") from error
    _take_weights(path, model, tensors)
    parameters = [p for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]]
    owners = [optimizer for optimizer in optimizers for group in optimizer.param_groups for _ in group["params"]]
    for number, (parameter, optimizer) in enumerate(zip(parameters, owners, strict=True)):
        prefix = f"optimizer.{number}."
        state = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
        optimizer.state[parameter] = {
            key: (value.reshape(()) if key == "step" else value).to(parameter.device) for key, value in state.items()
        }
    return Mark(step=int(metadata["step"]), seconds=float(metadata["seconds"]))


def take_base(folder: Path, model: nn.Module) -> None:
    """Begin with a base's weights. Raises ValueError where they cannot be read or are of another shape."""
    path = folder / "model.safetensors"
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} cannot be read ({error}); --start names the folder of a base.") from error
    _take_weights(path, model, {f"model.{name}": tensor for name, tensor in tensors.items()})


def _states(optimizers: list[torch.optim.Optimizer]) -> dict[str, dict[str, Tensor]]:
    parameters = [(o, p) for o in optimizers for group in o.param_groups for p in group["params"]]
    return {f"optimizer.{number}": dict(o.state[p]) for number, (o, p) in enumerate(parameters)}


@torch.no_grad()
def _take_weights(path: Path, model: nn.Module, tensors: dict[str, Tensor]) -> None:
    own = dict(model.named_parameters())
    stored = {name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")}
    if {name: t.shape for name, t in own.items()} != {name: t.shape for name, t in stored.items()}:
        raise ValueError(f"{path} is of another shape than the recipe; use another folder, or remove it.")
    for name, parameter in own.items():
        parameter.copy_(stored[name])
