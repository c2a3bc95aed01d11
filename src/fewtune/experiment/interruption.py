"""Ctrl-C as a request: noticed between steps, where everything is saved; a second one ends at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

from fewtune.errors import InterruptedByUser


class Interruption:
    """Whether the user has asked to stop."""

    def __init__(self) -> None:
        self.requested = False

    def check(self) -> None:
        """Raises InterruptedByUser once the user has asked."""
        if self.requested:
            raise InterruptedByUser("Stopped.")


@contextmanager
def watching() -> Generator[Interruption, None, None]:
    """Within the block the first Ctrl-C only sets `requested`; the one after it does what it always did."""
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    before = signal.getsignal(signal.SIGINT)

    def request(_number: int, _frame: FrameType | None) -> None:
        interruption.requested = True
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, request)
    try:
        yield interruption
    finally:
        signal.signal(signal.SIGINT, before)
