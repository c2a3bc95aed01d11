"""Eight trials that differ in everything, for tests of training side by side."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from fewtune.engine.base_model import BaseModel
from fewtune.engine.lora import Adapter
from fewtune.engine.training import Task, Training
from fewtune.types import Plan

Begin = Callable[..., Training]


@dataclass(frozen=True, kw_only=True)
class Trial:
    plan: Plan
    seed: int
    parent: bool = False
    preferences: bool = False

    def begin(self, base: BaseModel, begin_training: Begin, random_adapter: Callable[..., Adapter]) -> Training:
        adapter = random_adapter(base, rank=self.plan.rank, alpha=self.plan.alpha) if self.parent else None
        return begin_training(base, self.plan, seed=self.seed, adapter=adapter, preferences=self.preferences)


def plan(**values: Any) -> Plan:
    """A plan whose training has at least twenty steps."""
    made = Plan(**{"epochs": 1, "warmup_steps": 2, **values})
    steps = Task(plan=made, seed=0, train=(None,) * 5, valid=()).steps_per_epoch  # type: ignore[arg-type]
    return replace(made, epochs=math.ceil(20 / steps))


# Rates of 2e-2 at most. At 5e-2 these trials are chaotic: a change of their start by 1e-7 grows to a tenth in twenty
# steps, and so does the rounding of a common pass. At 2e-2 both stay below 1e-5.
EIGHT = {
    "plain": Trial(plan=plan(learning_rate=1e-2, batch_size=2, rank=4), seed=0),
    "prompts too": Trial(
        plan=plan(learning_rate=3e-3, batch_size=3, rank=8, alpha=4, prompt_loss_weight=0.1, weight_decay=0.1), seed=1
    ),
    "accumulating": Trial(plan=plan(learning_rate=2e-2, batch_size=2, gradient_accumulation=2, rank=4), seed=2),
    "clipped, cooling down": Trial(plan=plan(learning_rate=2e-2, batch_size=5, rank=4, clip=0.1, cooldown=0.5), seed=3),
    "upper half": Trial(plan=plan(learning_rate=1e-2, batch_size=1, rank=4, adapt_top=0.5), seed=4),
    "preferences": Trial(plan=plan(learning_rate=1e-2, batch_size=2, rank=4), seed=5, preferences=True),
    "from an adapter": Trial(plan=plan(learning_rate=1e-3, batch_size=4, rank=4, alpha=8), seed=6, parent=True),
    "averaging": Trial(
        plan=plan(learning_rate=1e-2, batch_size=3, rank=2, warmup_steps=0, averaged_checkpoints=3), seed=7
    ),
}


def distance(one: Training, other: Training) -> float:
    """Of the adapters, as a share of how long they are."""
    return float((one.adapter.flat - other.adapter.flat).norm() / other.adapter.flat.norm())
