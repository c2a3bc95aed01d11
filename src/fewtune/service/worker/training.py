"""The jobs that are trained side by side over one base, event by event."""

from __future__ import annotations

from collections.abc import Generator

from fewtune.providers.contract import Event, Provider
from fewtune.service.worker.job import Job

_MOST_EMPTY = 3
"""Rounds in which the provider ends and says nothing, though jobs have not ended."""


class TrainingBroke(Exception):
    """The provider could not go on; the cause is the error, and each of these jobs may be its reason."""

    def __init__(self, jobs: list[Job]) -> None:
        super().__init__()
        self.jobs = jobs


class Training:
    """Whoever joins or leaves closes `advance`, which saves; it is opened again at the next step."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._jobs: dict[str, Job] = {}
        self._events: Generator[Event, None, None] | None = None
        self._apart = False
        """One of them broke the training, and it is not known which: each trains alone, until that one has ended."""
        self._empty = 0

    @property
    def jobs(self) -> list[Job]:
        return list(self._jobs.values())

    def join(self, job: Job) -> None:
        """Raises TrainingBroke where the others cannot be saved; the job has joined all the same."""
        self._jobs[job.id] = job
        self.close()

    def leave(self, job: Job) -> None:
        """What it has done is saved; raises TrainingBroke where that cannot be."""
        if self._jobs.pop(job.id, None):
            self.close()

    def end(self, job: Job) -> None:
        """As `leave`, for one whose training is over or lost: the others need not be saved for that."""
        self._jobs.pop(job.id, None)
        self._apart = self._apart and bool(self._jobs)

    def close(self) -> None:
        events, self._events = self._events, None
        if events is not None:
            try:
                events.close()
            except Exception as error:
                raise TrainingBroke(self.jobs) from error

    def step(self) -> tuple[Job, Event] | None:
        """The next event; None where there is none. Raises TrainingBroke, with all who were trained together."""
        active = self.jobs[:1] if self._apart else self.jobs
        if not active:
            return None
        try:
            if self._events is None:
                self._events = self._provider.advance({job.id: None for job in active})
            event = next(self._events, None)
        except Exception as error:
            self._events = None
            self._apart = len(active) > 1
            raise TrainingBroke(active) from error
        if event is None:
            self._events = None
            self._count_empty(active)
            return None
        self._empty = 0
        # Who has left meanwhile has no use for it.
        job = self._jobs.get(event.handle)
        return job and (job, event)

    def _count_empty(self, active: list[Job]) -> None:
        self._empty += 1
        if self._empty >= _MOST_EMPTY:
            self._empty = 0
            raise TrainingBroke(active) from RuntimeError("the provider says nothing more")
