"""How fast this machine trains a base, measured before anything is promised."""

from __future__ import annotations

import time
from collections.abc import Sequence

from fewtune.data.encode import Encoded
from fewtune.engine.base_model import BaseModel
from fewtune.engine.trainer import WIDEST, train
from fewtune.engine.training import Task, begin
from fewtune.types import Plan


def tokens_per_second(base: BaseModel, examples: Sequence[Encoded], plan: Plan, trials: int) -> float:
    """Rate of two real steps of as many throw-away trainings as will train together, after one that warms up."""
    task = Task(plan=plan, seed=0, train=tuple(examples), valid=())
    together = min(trials, base.workers.count if base.on_cpu else max(1, WIDEST // plan.rank))
    trainings = {str(number): begin(base, task) for number in range(together)}
    last = min(3, task.steps)
    for _ in train(base, trainings, dict.fromkeys(trainings, last - 2)):
        pass
    before, started = sum(training.tokens for training in trainings.values()), time.perf_counter()
    for _ in train(base, trainings, dict.fromkeys(trainings, last)):
        pass
    tokens = sum(training.tokens for training in trainings.values()) - before
    return tokens / (time.perf_counter() - started)
