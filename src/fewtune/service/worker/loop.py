"""The worker's one loop: messages, a decoding step, a training event, and each second a look around."""

from __future__ import annotations

import os
import time

from fewtune.errors import FewtuneError
from fewtune.service.worker import protocol
from fewtune.service.worker.address import worker_socket
from fewtune.service.worker.answering import Answering
from fewtune.service.worker.archive import Archive
from fewtune.service.worker.connections import Connections, Peer
from fewtune.service.worker.desk import Desks
from fewtune.service.worker.leases import Leases
from fewtune.service.worker.protocol import Ask, AskStatus, BadLine, Status, Wake, Withdraw
from fewtune.service.worker.remains import remove_remains
from fewtune.service.worker.trouble import log_trouble
from fewtune.service.worker.work import Work

_SECONDS_BETWEEN_LOOKS = 1.0
_SECONDS_BETWEEN_SWEEPS = 60.0
_LONGEST_SHARE = 2.0
"""Seconds; a step of training that takes longer, as when rows are encoded first, buys no longer break."""
_STOPPING = "The service is being stopped."
_NO_TOOLS = "The model's base has no chat template, so no tools can be shown to it: leave 'tools' out."


class Worker:
    """`stop` may be called from anywhere, also from a signal's handler."""

    def __init__(self, archive: Archive, number: int) -> None:
        settings = archive.settings
        self._archive = archive
        self._connections = Connections(worker_socket(settings.folder, number))
        self._answering = Answering(self._connections.send)
        self._desks = Desks(archive)
        self._leases = Leases(
            archive.queue,
            f"worker-{number}-{os.getpid()}",
            seconds=settings.lease_seconds,
            renewal=settings.renewal_seconds,
        )
        self._work = Work(archive, self._desks, self._leases, self._connections.wake)
        self._stopping = False
        self._training_due = 0.0
        self._looked = self._swept = -_SECONDS_BETWEEN_SWEEPS

    def stop(self) -> None:
        self._stopping = True
        self._connections.wake()

    def run(self) -> None:
        """Until `stop`; then every job is saved and given back, and what is being answered ends within the grace."""
        self._leases.start()
        self._warm()
        while not self._stopping:
            self._turn()
        self._work.rest()
        self._leases.stop()
        until = time.monotonic() + self._archive.settings.grace_seconds
        while self._answering.busy and time.monotonic() < until:
            self._listen(0.0)
            self._answering.step()
        self._answering.refuse_all(_STOPPING)
        self._connections.close()

    def _turn(self) -> None:
        """Sampling goes on between two steps of training for as long as one takes, and for one of its own at least.

        So an answer is written at half the speed at least, and so is a model trained; on a CPU, where children of this
        process train, it costs them less.
        """
        wait = 0.0 if self._answering.busy or self._work.busy else self._seconds_to_look()
        self._listen(wait)
        self._answering.step()
        began = time.monotonic()
        if began >= self._training_due or not self._answering.busy:
            self._work.step()
            ended = time.monotonic()
            self._training_due = ended + min(ended - began, _LONGEST_SHARE)
        if not self._seconds_to_look():
            self._look()

    def _listen(self, seconds: float) -> None:
        lines, gone = self._connections.take(seconds)
        for peer, line in lines:
            self._read(peer, line)
        for peer in gone:
            self._answering.gone(peer)

    def _seconds_to_look(self) -> float:
        return max(0.0, self._looked + _SECONDS_BETWEEN_LOOKS - time.monotonic())

    def _look(self) -> None:
        """What fails here, with a full disk or a database that does not answer, is tried again a second later."""
        self._looked = time.monotonic()
        try:
            self._work.look()
            if self._looked - self._swept >= _SECONDS_BETWEEN_SWEEPS:
                self._swept = self._looked
                remove_remains(self._archive, self._work.job_ids)
        except Exception as error:
            log_trouble("Looking for work failed.", error)

    def _warm(self) -> None:
        """Where the base cannot be loaded each job and each question says so for itself."""
        try:
            self._desks.warm(self._archive.settings.base)
        except Exception as error:
            log_trouble("The base could not be loaded.", error)

    def _read(self, peer: Peer, line: bytes) -> None:
        try:
            self._do(peer, protocol.parse(line))
        except BadLine as error:
            if error.ask is None:
                self._connections.send(peer, protocol.error_line(str(error)))
            else:
                self._answering.refuse(peer, error.ask, "bad_request", str(error))

    def _do(self, peer: Peer, message: protocol.Incoming) -> None:
        match message:
            case Ask():
                self._ask(peer, message)
            case Withdraw():
                self._answering.withdraw(peer, message.id)
            case Wake():
                self._looked = -_SECONDS_BETWEEN_SWEEPS
            case AskStatus():
                self._connections.send(peer, protocol.status_line(self._status(message.id)))

    def _ask(self, peer: Peer, ask: Ask) -> None:
        try:
            desk = self._desks.of(ask.model.base)
        except FewtuneError as error:
            log_trouble("A base could not be opened.", error)
            self._answering.refuse(peer, ask.id, "model_not_found", "The model's base cannot be used here.")
            return
        if ask.request.tools and not desk.reads_tools:
            self._answering.refuse(peer, ask.id, "unsupported", _NO_TOOLS)
        else:
            self._answering.ask(peer, ask, desk.sampling)

    def _status(self, id: int) -> Status:
        return Status(
            id=id,
            training=self._work.job_ids,
            writing=self._answering.writing,
            waiting=self._answering.waiting,
            bases=self._desks.bases,
            pid=os.getpid(),
        )
