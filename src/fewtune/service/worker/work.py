"""The jobs that a worker has claimed, from the claim to the end."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from fewtune.errors import BaseModelError, FewtuneError, LostLease, UnfinishedError
from fewtune.providers.contract import Checkpoint, Event, Failure, Finished, Message, Point
from fewtune.service.logs import telling
from fewtune.service.worker import curve
from fewtune.service.worker.archive import Archive
from fewtune.service.worker.copying import keep_model
from fewtune.service.worker.desk import Desk, Desks
from fewtune.service.worker.finishing import finish, register
from fewtune.service.worker.job import Job, JobError
from fewtune.service.worker.leases import Leases
from fewtune.service.worker.preparing import Preparation, sweeps
from fewtune.service.worker.sweeping import Sweep
from fewtune.service.worker.training import TrainingBroke
from fewtune.service.worker.trouble import log_trouble

_log = logging.getLogger("fewtune.service.worker")

_SERVER_ERROR = "The job failed because of an error of the server; it is in the server's log."
_DISK_FULL = "The disk is full: the job rests, and tries again by itself."


class Work:
    """`step` does one thing for each base; what is slow without using the device goes on in threads beside it."""

    def __init__(self, archive: Archive, desks: Desks, leases: Leases, wake: Callable[[], None]) -> None:
        self._archive, self._desks, self._leases, self._wake = archive, desks, leases, wake
        self._jobs: dict[str, Job] = {}
        self._prepared: deque[tuple[Job, Exception | None]] = deque()
        self._preparing: set[str] = set()
        """Who is with a thread, those among them that were let go meanwhile."""
        self._finishing: dict[str, Iterator[None]] = {}
        self._sweeps: dict[str, Sweep] = {}
        self._adapters: dict[str, Path | None] = {}
        """The last checkpoint's folder, by job."""

    @property
    def job_ids(self) -> tuple[str, ...]:
        return tuple(self._jobs)

    @property
    def busy(self) -> bool:
        """Whether there is something that `step` could do at once."""
        return bool(self._prepared or self._finishing or any(desk.training.jobs for desk in self._desks.all()))

    def look(self) -> None:
        """Follow the owners' wishes, take what waits, see how the sweeps are."""
        for id, wish in self._leases.renew().items():
            job = self._jobs.get(id)
            if job is not None and wish != "go":
                self._guarded(job, {"cancel": self._cancel, "pause": self._pause, "lost": self._lose}[wish])
        for id, sweep in list(self._sweeps.items()):
            self._guarded(self._jobs[id], lambda job, sweep=sweep: self._follow(job, sweep))
        self._claim()

    def step(self) -> None:
        """One event of each base's training, one slice of each job that is nearly done."""
        while self._prepared:
            job, error = self._prepared.popleft()
            self._guarded(job, lambda job, error=error: self._begin(job, error))
        for desk in self._desks.all():
            self._train(desk)
        for id in list(self._finishing):
            self._guarded(self._jobs[id], self._finish_slice)

    def rest(self) -> None:
        """Save everything and give it back."""
        for job in list(self._jobs.values()):
            self._guarded(job, self._pause)

    def _claim(self) -> None:
        room = self._archive.settings.jobs_at_once - len(self._jobs)
        for claim in self._leases.claim(room) if room > 0 else []:
            record = self._archive.queue.job(claim)
            job = Job(claim=claim, record=record, organisation=self._archive.settings.organisation)
            job.rested, job.deaths = record.not_before > 0, record.attempts - 1
            self._jobs[job.id] = job
            _log.info("Took a job.", extra=telling(job=job.id, stage=record.stage, attempts=record.attempts))
            self._guarded(job, self._prepare)

    def _prepare(self, job: Job) -> None:
        most = self._archive.settings.most_attempts
        if job.record.attempts > most:
            raise JobError("worker_died", f"The worker died {most} times while it worked on this job.")
        preparation = self._preparation(job, self._desk(job))
        self._preparing.add(job.id)
        threading.Thread(target=self._run_beside, args=(job, preparation.run), daemon=True).start()

    def _preparation(self, job: Job, desk: Desk) -> Preparation:
        return Preparation(archive=self._archive, job=job, provider=desk.provider, rows=desk.rows)

    def _run_beside(self, job: Job, run: Callable[[], None]) -> None:
        try:
            run()
        except Exception as error:
            self._prepared.append((job, error))
        else:
            self._prepared.append((job, None))
        self._wake()

    def _begin(self, job: Job, error: Exception | None) -> None:
        self._preparing.discard(job.id)
        if self._jobs.get(job.id) is not job:
            # Let go while it was prepared: what was prepared is of no use.
            self._drop_rows(job)
            if job.over:
                self._clear(job)
        elif error is not None:
            raise error
        elif sweeps(job):
            self._sweeps[job.id] = Sweep(self._archive, job)
        else:
            self._training_changes(self._desk(job), job, join=True)

    def _train(self, desk: Desk) -> None:
        try:
            told = desk.training.step()
        except TrainingBroke as broke:
            self._broke(broke)
            return
        if told is not None:
            job, event = told
            self._guarded(job, lambda job: self._tell(job, desk, event))

    def _tell(self, job: Job, desk: Desk, event: Event) -> None:
        match event:
            case Point():
                curve.tell_point(self._archive, job, event)
            case Checkpoint():
                self._adapters[job.id] = event.folder
                curve.keep_checkpoint(self._archive, job, event)
            case Message():
                curve.tell_message(self._archive, job, event)
            case Failure():
                raise JobError(event.code, event.text)
            case Finished():
                self._training_changes(desk, job, join=False)
                adapter = self._adapters.get(job.id)
                self._finishing[job.id] = finish(self._archive, job, desk.provider, event, adapter)

    def _finish_slice(self, job: Job) -> None:
        if next(self._finishing[job.id], self) is self:
            self._ended(job)

    def _follow(self, job: Job, sweep: Sweep) -> None:
        winner = sweep.follow()
        if winner is None:
            return
        del self._sweeps[job.id]
        job.chosen = winner.chosen
        self._archive.queue.stage(job.claim, "train", plan=winner.chosen.to_json())
        if winner.adapter is not None:
            keep_model(winner.adapter, job.name, self._archive.models.place(job.name))
            register(self._archive, job, winner.tokens)
            self._ended(job)
        else:
            # Its provider leaves nothing that another process could use: the plan that won is trained here.
            desk = self._desk(job)
            self._preparation(job, desk).start(winner.chosen.plan)
            self._training_changes(desk, job, join=True)

    def _cancel(self, job: Job) -> None:
        self._leave(job)
        self._archive.queue.end(job.claim, "cancelled")
        self._ended(job)

    def _pause(self, job: Job) -> None:
        self._leave(job)
        self._archive.queue.release(job.claim)
        self._let_go(job)

    def _lose(self, job: Job) -> None:
        self._leave(job)
        self._let_go(job)

    def _rest(self, job: Job, error: UnfinishedError) -> None:
        """Wait for room; what stands in the way of saying so is over when the lease is."""
        log_trouble("A job met an error.", error, job=job.id)
        settings = self._archive.settings
        try:
            self._leave(job)
            self._archive.queue.event(job.claim, _DISK_FULL, level="warn", once=f"disk-full-{job.reached}")
            self._archive.queue.release(job.claim, not_before=time.time() + settings.disk_full_seconds)
        finally:
            self._let_go(job)

    def _fail(self, job: Job, error: JobError) -> None:
        self._leave(job)
        self._archive.queue.event(job.claim, error.message, level="error", once="failed")
        self._archive.queue.end(job.claim, "failed", error=error.told)
        self._ended(job)

    def _guarded(self, job: Job, do: Callable[[Job], None]) -> None:
        """Whatever goes wrong with one job is no affair of the others."""
        try:
            do(job)
        except LostLease:
            self._let_go(job)
        except Exception as error:
            self._fail_guarded(job, error)

    def _fail_guarded(self, job: Job, error: Exception) -> None:
        try:
            if isinstance(error, UnfinishedError):
                self._rest(job, error)
            elif isinstance(error, JobError):
                self._fail(job, error)
            else:
                log_trouble("A job met an error.", error, job=job.id)
                self._fail(job, _told(error))
        except Exception as again:
            # Not even that can be written: somebody takes the job once the lease is over.
            log_trouble("A job is given up.", again, job=job.id)
            self._let_go(job)

    def _broke(self, broke: TrainingBroke) -> None:
        """With a full disk all rest; of several who trained together each goes on alone, until the guilty one fails."""
        error = broke.__cause__
        full = isinstance(error, UnfinishedError)
        if isinstance(error, Exception) and (full or len(broke.jobs) == 1):
            for job in broke.jobs:
                self._fail_guarded(job, error)
        elif error is not None:
            log_trouble("A training broke.", error)

    def _training_changes(self, desk: Desk, job: Job, *, join: bool) -> None:
        try:
            if join:
                desk.training.join(job)
            else:
                desk.training.leave(job)
        except TrainingBroke as broke:
            self._broke(broke)

    def _leave(self, job: Job) -> None:
        self._finishing.pop(job.id, None)
        sweep = self._sweeps.pop(job.id, None)
        if sweep is not None:
            sweep.stop()
        for desk in self._desks.all():
            if job in desk.training.jobs:
                self._training_changes(desk, job, join=False)

    def _ended(self, job: Job) -> None:
        job.over = True
        _log.info("A job has ended.", extra=telling(job=job.id, step=job.reached))
        self._let_go(job)
        if job.id not in self._preparing:
            self._clear(job)

    def _let_go(self, job: Job) -> None:
        for known in (self._finishing, self._sweeps, self._adapters):
            known.pop(job.id, None)
        for desk in self._desks.all():
            desk.training.end(job)
        if self._jobs.get(job.id) is job:
            del self._jobs[job.id]
        self._drop_rows(job)
        self._leases.drop(job.claim)

    def _drop_rows(self, job: Job) -> None:
        if job.id not in self._jobs:
            for desk in self._desks.all():
                desk.rows.drop(job.record.number)

    def _clear(self, job: Job) -> None:
        # Where there is no such base, or the job had not begun to train, there is nothing to give up.
        with suppress(FewtuneError):
            self._desks.of(job.record.base).provider.cancel([job.id])
        self._archive.forget(job.id, job.record.base)

    def _desk(self, job: Job) -> Desk:
        try:
            return self._desks.of(job.record.base)
        except FewtuneError as error:
            raise JobError("model_not_found", error.what, "model") from error


def _told(error: Exception) -> JobError:
    """What is the user's to mend is told; the rest is the server's, and in its log."""
    if isinstance(error, BaseModelError):
        return JobError("invalid_base", error.what, "model")
    return JobError("server_error", _SERVER_ERROR)
