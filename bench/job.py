"""What one contender is asked to train; from it every contender gets the same batches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fewtune.data.encode import Encoded
from fewtune.schedule.order import batch_at, steps_per_epoch
from fewtune.types import Plan, Precision

RANK, ALPHA, LEARNING_RATE = 8, 16, 1e-3
_RATE_TO_RATE = 1.1
"""Between the learning rates of two neighbouring trials."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """Some trials that differ in seed (so in data order) and learning rate; a single one is the first of them."""

    base: str
    data: str
    batch_size: int
    steps: int
    """Timed optimizer steps of each trial."""
    trials: int = 1
    seed: int = 0
    """Of the first trial."""
    dealt_rows: int | None = None
    """Only the first so many rows, each trial its own share of them; None: every trial has all rows."""
    warm_up: bool = True
    """Whether something is trained before the clock starts."""
    grouped: bool = False
    """TRL pads its batches and groups rows by length, so it draws its own batches; else it trains without padding."""
    precision: Precision | None = None
    """None: what the device does unasked."""

    def plan(self, trial: int, rows: Sequence[Encoded]) -> Plan:
        """Constant rate, no weight decay, no prompt loss; as many epochs as the steps take."""
        return Plan(
            base=self.base,
            epochs=math.ceil(self.steps / steps_per_epoch(len(rows), self.batch_size)),
            batch_size=self.batch_size,
            learning_rate=LEARNING_RATE * _RATE_TO_RATE**trial,
            rank=RANK,
            alpha=ALPHA,
            warmup_steps=0,
        )

    def rows(self, trial: int, rows: Sequence[Encoded]) -> tuple[Encoded, ...]:
        """The trial's rows; those that would fill no batch are left out, so that all steps are of one size."""
        if self.dealt_rows is not None:
            rows = rows[trial : self.dealt_rows : self.trials]
        return tuple(rows[: len(rows) - len(rows) % self.batch_size])

    def batch(self, trial: int, rows: Sequence[Encoded], step: int) -> list[Encoded]:
        """The batch of the trial's step, from 0, of the trial's rows."""
        return batch_at(rows, self.batch_size, self.seed + trial, step)

    def tokens(self, rows: Sequence[Encoded]) -> int:
        """Tokens of all timed steps of all trials, prompts and completions; nothing of it is padding."""
        return sum(
            len(example.ids)
            for trial in range(self.trials)
            for step in range(self.steps)
            for example in self.batch(trial, self.rows(trial, rows), step)
        )
