"""A job that this worker has claimed."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fewtune.service.worker.naming import tuned_name
from fewtune.service.worker.planning import Chosen
from fewtune.store.jobs import JobRecord
from fewtune.store.queue import Claim
from fewtune.types import Example, Plan


class JobError(Exception):
    """The end of a job, in the words that its owner reads."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.param = code, message, param

    @property
    def told(self) -> dict[str, str | None]:
        return {"code": self.code, "message": self.message, "param": self.param}


@dataclass(kw_only=True, eq=False)
class Job:
    """What the worker knows of it, beside what the store holds."""

    claim: Claim
    record: JobRecord
    organisation: str
    chosen: Chosen | None = None
    """None until it is prepared."""
    training: Sequence[Example] = ()
    validation: Sequence[Example] = ()
    points: dict[int, Mapping[str, Any]] = field(default_factory=dict[int, Mapping[str, Any]])
    """Metrics of the epochs' last steps, for their checkpoints."""
    reached: int = 0
    """The last step that was told."""
    began: float = 0.0
    began_step: int = 0
    estimated: float = 0.0
    """When the end was estimated last."""
    rested: bool = False
    """It waited for room on the disk."""
    over: bool = False
    """It has ended here: what was kept of it is of no use any more."""
    deaths: int = 0
    """How often a worker took it before, since it last got anywhere."""

    @property
    def id(self) -> str:
        return self.record.id

    @property
    def name(self) -> str:
        """Of the model that it makes."""
        record = self.record
        return tuned_name(record.model, organisation=self.organisation, suffix=record.suffix, job=record.id)

    @property
    def plan(self) -> Plan:
        if self.chosen is None:
            raise ValueError("the job is not prepared")
        return self.chosen.plan

    def seconds_left(self, step: int, steps: int) -> float | None:
        """By the speed of this worker so far; None before there is one."""
        if not self.began:
            self.began, self.began_step = time.monotonic(), step
        done = step - self.began_step
        return None if done < 1 else (steps - step) * (time.monotonic() - self.began) / done
