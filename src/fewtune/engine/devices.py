"""What this machine computes with."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager

import torch
from torch import Tensor


def best() -> torch.device:
    """CUDA, else Apple's GPU, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU's on the device; on CUDA without waiting for what that was asked for before.

    The driver has copied pageable memory aside when it returns, so the tensor may be forgotten at once.
    """
    return tensor.to(device, non_blocking=device.type == "cuda")


def fetched(tensor: Tensor) -> Callable[[], Tensor]:
    """Begin to copy a tensor to the CPU; what is given back waits for it, but for nothing asked for later."""
    if not tensor.is_cuda:
        return tensor.cpu
    copy = torch.empty_like(tensor, device="cpu", pin_memory=True).copy_(tensor, non_blocking=True)
    arrived = torch.cuda.Event()
    arrived.record()

    def read() -> Tensor:
        arrived.synchronize()
        return copy

    return read


def use_one_core() -> None:
    """Make torch compute with this thread alone."""
    torch.set_num_threads(1)


@contextmanager
def one_core() -> Generator[None, None, None]:
    """Within the block this thread computes alone; afterwards with as many threads as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
