"""What torch computes on, and what it took, for both sides of a comparison; only child processes import it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import psutil
import torch

CUDA = torch.cuda.is_available()
WARM_UP_STEPS = 5 if CUDA else 1
"""On CUDA each new number of tokens finds memory and kernels to be fetched at first."""


def _synchronize() -> None:
    """Wait until everything that was asked for is computed, so that a clock may be read."""
    if CUDA:
        torch.cuda.synchronize()


def forget_peak() -> None:
    if CUDA:
        torch.cuda.reset_peak_memory_stats()


def peak_bytes() -> int:
    """The most of the device's memory that was in use at a time since `forget_peak`; 0 without CUDA."""
    return torch.cuda.max_memory_allocated() if CUDA else 0


def held_bytes() -> int:
    """The most of it that was not free for others, which recorded passes hold between replays too."""
    return torch.cuda.max_memory_reserved() if CUDA else 0


def _cpu_seconds() -> float:
    """Of this process and its living children."""
    times = [child.cpu_times() for child in psutil.Process().children(recursive=True)]
    return time.process_time() + sum(one.user + one.system for one in times)


@dataclass(kw_only=True)
class Clock:
    """Started when it is made."""

    started: float = field(init=False)
    cpu_started: float = field(init=False)

    def __post_init__(self) -> None:
        _synchronize()
        self.started, self.cpu_started = time.perf_counter(), _cpu_seconds()

    def read(self) -> dict[str, Any]:
        """Seconds of the wall clock, and of all cores' work, since the start."""
        _synchronize()
        return {"seconds": time.perf_counter() - self.started, "cpu_seconds": _cpu_seconds() - self.cpu_started}
