"""Who computes: on a CPU one single-threaded child for each core, on a GPU one thread that feeds it.

Children rather than threads, since Python's threads wait for each other between any two operations of
torch, and at the size of a few-shot batch that is a third of the time. They are forked, so that all of
them share one copy of the base. Where forking is not safe (macOS, Windows), threads do the same work.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import traceback
import warnings
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any, TypeVar

from fewtune.engine.devices import cores, use_one_core
from fewtune.errors import TrainingError

Result = TypeVar("Result")
_forking = threading.Lock()
"""One child at a time, or it would inherit, and keep open, its sibling's end of a connection."""


class Workers:
    """Runs functions whose first argument is the base; arguments and results are plain values and numpy arrays.

    A future raises TrainingError when the child that worked on it was killed; later calls are given to new
    children. They end with the base, or with this process, however that ends.
    """

    def __init__(self, base: Any, *, on_cpu: bool) -> None:
        # Not the base itself, which holds this: it would stay in memory, with all children, until a cycle is noticed.
        self._base = weakref.ref(base)
        self._forked = on_cpu and sys.platform == "linux"
        self.count = cores() if on_cpu else 1
        # With children they only carry messages.
        self._threads = ThreadPoolExecutor(self.count, "fewtune-engine", None if self._forked else use_one_core)
        self._starting = threading.Lock()
        self._children: _Children | None = None

    def submit(self, function: Callable[..., Result], *arguments: Any) -> Future[Result]:
        base: Any = self._base()
        if not self._forked:
            return self._threads.submit(function, base, *arguments)
        with self._starting:
            if self._children is None or self._children.broken:
                self._children = _Children(base, self.count)
            return self._threads.submit(self._children.call, function, arguments)


class _Children:
    """Forked processes, each at the end of a connection of its own: one that dies cannot hold up the others."""

    def __init__(self, base: Any, count: int) -> None:
        self.broken = False
        children = [_Child(base) for _ in range(count)]
        self._idle: SimpleQueue[_Child] = SimpleQueue()
        for child in children:
            self._idle.put(child)
        weakref.finalize(self, _end, children, os.getpid())

    def call(self, function: Callable[..., Result], arguments: tuple[Any, ...]) -> Result:
        """Let a child compute it; to be called by no more threads at once than there are children."""
        child = self._idle.get()
        try:
            error, result = (_lost(), None) if self.broken else child.call(function, arguments)
        except (EOFError, OSError):
            self.broken = True
            error, result = _lost(), None
        finally:
            self._idle.put(child)
        try:
            if error is not None:
                raise error
            return result  # type: ignore[return-value]
        finally:
            # Or the error would hold this frame, and this frame the error: a cycle, with all children in it.
            del error


class _Child:
    def __init__(self, base: Any) -> None:
        with _forking, warnings.catch_warnings():
            # Python warns of forking beside other threads: the child touches none of what they may hold.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._connection, theirs = multiprocessing.Pipe()
            context = multiprocessing.get_context("fork")
            self._process = context.Process(target=_serve, args=(base, theirs, self._connection), daemon=True)
            self._process.start()
            theirs.close()

    def call(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[BaseException | None, Any]:
        """What the function raised and what it returned; EOFError or OSError when the child is gone."""
        self._connection.send((function, arguments))
        return self._connection.recv()  # type: ignore[no-any-return]

    def end(self) -> None:
        self._process.kill()
        self._process.join()
        self._process.close()


def _end(children: Sequence[_Child], parent: int) -> None:
    # A child has a copy of what its siblings are known by, and must leave them alone.
    if os.getpid() == parent:
        for child in children:
            child.end()


def _lost() -> TrainingError:
    return TrainingError(
        "A worker process was killed, most likely because the machine ran out of memory.",
        fix="Use a smaller batch size, or give the machine more memory, and resume.",
    )


def _serve(base: Any, connection: Connection, parents_end: Connection) -> None:
    """A child's life."""
    # Ctrl-C reaches the whole group of processes; it is for the parent to decide.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    parents_end.close()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    use_one_core()
    _keep_memory()
    # Where nobody is at the other end, it is over.
    with suppress(EOFError, OSError):
        while True:
            function, arguments = connection.recv()
            connection.send(_outcome(base, function, arguments))


def _outcome(base: Any, function: Callable[..., Result], arguments: tuple[Any, ...]) -> tuple[Any, Result | None]:
    try:
        return None, function(base, *arguments)
    except Exception as error:
        error.add_note(f"In a worker process:\n{traceback.format_exc()}")
        return error, None


def _end_with_parent() -> None:
    """End as soon as the parent has, however it did.

    Its pipe tells at once, unless another process that it forked holds that open; its number tells soon.
    """
    parent: Any = multiprocessing.parent_process()
    while parent.is_alive() and os.getppid() == parent.pid:
        parent.join(0.5)
    os._exit(1)


def _keep_memory() -> None:
    """Let the C library keep what is freed: asking for it again, page by page, costs a tenth of a step."""
    trim_threshold, mmap_threshold = -1, -3
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(trim_threshold, 2**30)
        library.mallopt(mmap_threshold, 2**30)
