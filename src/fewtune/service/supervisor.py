"""Keeps the service alive: one web process and the workers, each started again when it dies.

The listening socket is bound here and inherited, so that while a web process is started again connections wait
instead of being refused. Nothing heavy is imported.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from fewtune.errors import UsageError
from fewtune.service.logs import telling
from fewtune.service.settings import VARIABLE, ServiceSettings

_log = logging.getLogger("fewtune.service.supervisor")

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
_SOUND = 10.0
"""Seconds after which a child that dies is started again at once."""
_BACKLOG = 2048
_POLL = 0.05
_SECONDS_TO_SAVE = 30.0
"""Beyond the grace: a worker may be within a step."""


def bind(host: str, port: int) -> socket.socket:
    """The listening socket; raises UsageError where the address cannot be had."""
    listening: socket.socket | None = None
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(_BACKLOG)
    except OSError as error:
        if listening:
            listening.close()
        raise UsageError(
            f"The service cannot listen there: {error.strerror or error}.",
            where=f"{host}:{port}",
            fix="Stop what uses the port, or choose another one with --port.",
        ) from error
    return listening


@dataclass(kw_only=True)
class _Child:
    name: str
    arguments: Sequence[str]
    inherited: tuple[int, ...]
    process: subprocess.Popen[bytes] | None = None
    began: float = 0.0
    pause: float = _FIRST_PAUSE
    again: float = 0.0
    """When it may be started."""


class Supervisor:
    """`run` blocks until a signal; a second one ends everything at once."""

    def __init__(self, settings: ServiceSettings, listening: socket.socket, *, ready: Callable[[], None] | None = None):
        """`ready` is called once, when the children have been started."""
        self._settings, self._ready = settings, ready
        # The end of this pipe tells the children that nobody looks after them any more.
        leash, self._hold = os.pipe()
        web = ["-m", "fewtune.service.web", f"--socket={listening.fileno()}", f"--leash={leash}"]
        self._children = [_Child(name="web", arguments=web, inherited=(leash, listening.fileno()))]
        for number in range(settings.workers):
            arguments = ["-m", "fewtune.service.worker", f"--number={number}", f"--leash={leash}"]
            self._children.append(_Child(name=f"worker {number}", arguments=arguments, inherited=(leash,)))
        self._signals = 0
        self._woken, self._waker = os.pipe()
        os.set_blocking(self._waker, False)

    def run(self) -> None:
        handlers = {signal.SIGTERM: self._count, signal.SIGINT: self._count, signal.SIGCHLD: _no_more_than_wake}
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        waker = signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        try:
            self._start_due()
            if self._ready:
                self._ready()
            while not self._signals:
                self._watch()
            self._end()
        finally:
            self._kill()
            signal.set_wakeup_fd(waker)
            for number, handler in before.items():
                signal.signal(number, handler)

    def _count(self, _number: int, _frame: object) -> None:
        self._signals += 1

    def _watch(self) -> None:
        for child in self._children:
            if child.process is not None and child.process.poll() is not None:
                self._note_death(child, child.process.returncode)
        self._start_due()
        self._wait(min((child.again for child in self._children if child.process is None), default=None))

    def _wait(self, until: float | None) -> None:
        """Until a signal comes, that of a child's death among them, or a child may be started again."""
        seconds = None if until is None else max(0.0, until - time.monotonic())
        if select.select([self._woken], [], [], seconds)[0]:
            os.read(self._woken, 1024)

    def _start_due(self) -> None:
        now = time.monotonic()
        for child in self._children:
            if child.process is None and child.again <= now:
                child.process, child.began = self._started(child), now

    def _started(self, child: _Child) -> subprocess.Popen[bytes]:
        environment = {**os.environ, VARIABLE: self._settings.to_json()}
        # A group of its own: Ctrl-C is for the supervisor, which ends its children in order.
        return subprocess.Popen(
            [sys.executable, *child.arguments], env=environment, pass_fds=child.inherited, start_new_session=True
        )

    def _note_death(self, child: _Child, code: int) -> None:
        lived = time.monotonic() - child.began
        child.pause = _FIRST_PAUSE if lived >= _SOUND else min(2 * child.pause, _LONGEST_PAUSE)
        child.process, child.again = None, time.monotonic() + child.pause
        _log.warning(
            "A child has ended and is started again.",
            extra=telling(child=child.name, code=code, seconds=child.pause),
        )

    def _end(self) -> None:
        """Web and workers at the same time: answers that are being written end, jobs are saved."""
        _log.info("Stopping: answers end and jobs are saved. A second signal ends it at once.")
        for child in self._children:
            _send(child, signal.SIGTERM)
        until = time.monotonic() + self._settings.grace_seconds + _SECONDS_TO_SAVE
        while self._signals < 2 and time.monotonic() < until and any(map(_lives, self._children)):
            time.sleep(_POLL)

    def _kill(self) -> None:
        for child in self._children:
            _send(child, signal.SIGKILL)
            if child.process is not None:
                child.process.wait()


def _no_more_than_wake(_number: int, _frame: object) -> None:
    """Without a handler the signal would be thrown away."""


def _lives(child: _Child) -> bool:
    return child.process is not None and child.process.poll() is None


def _send(child: _Child, number: int) -> None:
    if child.process is not None and _lives(child):
        with suppress(ProcessLookupError):
            child.process.send_signal(number)
