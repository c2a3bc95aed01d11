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
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Connection
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

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
        if not self._forked:
            return self._threads.submit(function, self._base(), *arguments)
        with self._starting:
            return self._threads.submit(self._started().call, function, arguments)

    def stream(self, function: Callable[..., Iterator[Result]], *arguments: Any) -> Stream[Result] | None:
        """Let a child go through a generator by itself; None where no child can be spared for it.

        One is always left for `submit`. The generator's values are not None.
        """
        if not self._forked or self.count < 2:
            return None
        try:
            return self._streamed(function, arguments)
        except TrainingError:
            # The child died with nothing to do, so nothing is lost: new ones are there now.
            return self._streamed(function, arguments)

    def _streamed(self, function: Callable[..., Iterator[Result]], arguments: tuple[Any, ...]) -> Stream[Result] | None:
        with self._starting:
            children = self._started()
        child = children.spare()
        if child is None:
            return None
        try:
            return Stream(children, child, function, arguments)
        except BaseException:
            children.give_back(child)
            raise

    def _started(self) -> _Children:
        if self._children is None or self._children.broken:
            self._children = _Children(self._base(), self.count)
        return self._children


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

    def spare(self) -> _Child | None:
        """A child that has nothing to do, unless it is the last one; to be given back."""
        try:
            child = self._idle.get_nowait()
        except Empty:
            return None
        if not self._idle.empty():
            return child
        self._idle.put(child)
        return None

    def give_back(self, child: _Child) -> None:
        self._idle.put(child)


class Stream(Generic[Result]):
    """What a child gives, value by value; to be closed, which ends the child's work on it."""

    def __init__(
        self, children: _Children, child: _Child, function: Callable[..., Iterator[Result]], arguments: tuple[Any, ...]
    ) -> None:
        self._children, self._child = children, child
        self.ended = False
        self._tell((function, arguments))

    def waiting(self) -> Iterator[Result]:
        """The values that have come since the last time."""
        while not self.ended and self._child.connection.poll():
            yield from self._next()

    def rest(self) -> Iterator[Result]:
        """All that is still to come, waited for."""
        while not self.ended:
            yield from self._next()

    def close(self) -> None:
        if not self.ended and not self._children.broken:
            self._tell(None)
            with suppress(Exception):
                for _ in self.rest():
                    pass
        self._children.give_back(self._child)

    def _next(self) -> Iterator[Result]:
        try:
            error, value = self._child.connection.recv()
        except (EOFError, OSError):
            raise self._broken() from None
        self.ended = error is not None or value is None
        if error is not None:
            raise error
        if value is not None:
            yield value

    def _tell(self, message: Any) -> None:
        try:
            self._child.connection.send(message)
        except OSError:
            raise self._broken() from None

    def _broken(self) -> TrainingError:
        self._children.broken = self.ended = True
        return _lost()


class _Child:
    def __init__(self, base: Any) -> None:
        with _forking, warnings.catch_warnings():
            # Python warns of forking beside other threads: the child touches none of what they may hold.
            warnings.simplefilter("ignore", DeprecationWarning)
            self.connection, theirs = multiprocessing.Pipe()
            context = multiprocessing.get_context("fork")
            self._process = context.Process(target=_serve, args=(base, theirs, self.connection), daemon=True)
            self._process.start()
            theirs.close()

    def call(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[BaseException | None, Any]:
        """What the function raised and what it returned; EOFError or OSError when the child is gone."""
        self.connection.send((function, arguments))
        return self.connection.recv()  # type: ignore[no-any-return]

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
            message = connection.recv()
            if message is not None:
                _work(base, connection, *message)


def _work(base: Any, connection: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """Send what the function gives; of a generator each value and then None, which also follows a None received."""
    error, result = _outcome(base, function, arguments)
    if not isinstance(result, Generator):
        connection.send((error, result))
        return
    values: Generator[Any, None, None] = result
    while True:
        error, value = _outcome(base, lambda _: next(values, None), ())
        connection.send((error, value))
        if error is not None or value is None:
            return
        if connection.poll():
            connection.recv()
            values.close()
            connection.send((None, None))
            return


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
