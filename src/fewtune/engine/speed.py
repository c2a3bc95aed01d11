"""How fast this machine trains a base, measured before anything is promised."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from fewtune.data.encode import Encoded
from fewtune.engine.base_model import BaseModel
from fewtune.engine.trainer import WIDEST, train
from fewtune.engine.training import Task, Training, begin
from fewtune.types import Plan

_LONG_ENOUGH = 0.2
"""Seconds. Two steps of a tiny base are over before other work has had its turns, and say anything of a busy machine;
a longer look is more exact than anything that is told of it, and holds up the first step.
"""


def tokens_per_second(base: BaseModel, examples: Sequence[Encoded], plan: Plan, trials: int) -> float:
    """Rate of real steps of as many throw-away trainings as will train together, after one that warms up.

    Two steps, then twice as many again and again, until a fifth of a second is over or the plan ends.
    """
    task = Task(plan=plan, seed=0, train=tuple(examples), valid=())
    together = min(trials, base.workers.count if base.on_cpu else max(1, WIDEST // plan.rank))
    trainings = {str(number): begin(base, task) for number in range(together)}
    last = min(3, task.steps)
    _advance(base, trainings, last - 2)
    before, seconds, steps = _tokens(trainings), _advance(base, trainings, last), 2
    while seconds < _LONG_ENOUGH and last < task.steps:
        steps *= 2
        last = min(last + steps, task.steps)
        seconds += _advance(base, trainings, last)
    return (_tokens(trainings) - before) / seconds


def _advance(base: BaseModel, trainings: Mapping[str, Training], step: int) -> float:
    """Seconds to that step."""
    started = time.perf_counter()
    for _ in train(base, trainings, dict.fromkeys(trainings, step)):
        pass
    return time.perf_counter() - started


def _tokens(trainings: Mapping[str, Training]) -> int:
    return sum(training.tokens for training in trainings.values())
