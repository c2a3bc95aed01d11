"""How fast this machine trains a base, measured before anything is promised."""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager

import torch

from fewtune.data.encode import Encoded
from fewtune.engine.base_model import BaseModel
from fewtune.engine.trainer import Task, begin, step
from fewtune.types import Plan

_SMALL_WIDTH = 512
"""Below this hidden size a second thread costs more in waiting than it brings in arithmetic."""


@contextmanager
def threads_for(base: BaseModel) -> Generator[None, None, None]:
    """Use as many threads as suit the base, and put the caller's number back afterwards."""
    before = torch.get_num_threads()
    width = getattr(base.model.config, "hidden_size", _SMALL_WIDTH)
    torch.set_num_threads(1 if width < _SMALL_WIDTH else os.cpu_count() or 1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def tokens_per_second(base: BaseModel, examples: Sequence[Encoded], plan: Plan) -> float:
    """Rate of two real training steps on a throw-away adapter, after one that warms up."""
    task = Task(plan=plan, seed=0, train=tuple(examples), valid=())
    training = begin(base, task)
    with threads_for(base):
        step(base, "speed", training)
        tokens, started = training.tokens, time.perf_counter()
        for _ in range(2):
            step(base, "speed", training)
    return (training.tokens - tokens) / (time.perf_counter() - started)


def device_name() -> str:
    """What training will use."""
    if torch.cuda.is_available():
        return f"CUDA, {torch.cuda.get_device_name(0)}, bf16"
    return f"CPU, fp32, {os.cpu_count()} cores"
