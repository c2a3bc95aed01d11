"""The learning rate as a function of the step."""

from __future__ import annotations

import math

from fewtune.types import Plan


def learning_rate(plan: Plan, step: int, steps: int) -> float:
    """Rate of step `step` (from 0) of `steps`: linear warm-up, constant, then the 1 - sqrt cooldown.

    The warm-up is a number of steps, not a share, so that plans that differ in epochs alone begin
    alike. Cooldown after Hägele et al., "Scaling Laws and Compute-Optimal Training Beyond Fixed
    Training Durations" (2024), equation 1.
    """
    warmup = min(1.0, (step + 1) / plan.warmup_steps) if plan.warmup_steps else 1.0
    return plan.learning_rate * warmup * _cooldown(step, steps, plan.cooldown)


def _cooldown(step: int, steps: int, share: float) -> float:
    length = share * steps
    begin = steps - length
    if step < begin or not length:
        return 1.0
    return 1.0 - math.sqrt((step - begin) / length)
