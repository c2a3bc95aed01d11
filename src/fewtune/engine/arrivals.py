"""Prompts that are still to be continued, as they come."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from fewtune.engine.continuation import Prompt, Withdrawal

_WAITING = 256

Ask = Prompt | Withdrawal | None
"""What the sampler is given: None says that nothing is there at the moment."""


class Arrivals:
    """A queue, filled from an iterator that may be alive: what is waiting there may be withdrawn too."""

    def __init__(self, asks: Iterable[Ask]) -> None:
        self._asks = iter(asks)
        self.ended = False
        """Whether nothing will follow what is waiting."""
        self.waiting: deque[Prompt] = deque()

    def take(self) -> list[int]:
        """Take in what is there at the moment; the ids that are withdrawn."""
        withdrawn: list[int] = []
        while not self.ended and len(self.waiting) < _WAITING:
            try:
                ask = next(self._asks)
            except StopIteration:
                self.ended = True
                break
            if ask is None:
                break
            if isinstance(ask, Withdrawal):
                withdrawn.append(ask.id)
            else:
                self.waiting.append(ask)
        return withdrawn

    def withdraw(self, id: int) -> list[Prompt]:
        """Those that waited under this id, and wait no more."""
        found = [prompt for prompt in self.waiting if prompt.id == id]
        self.waiting = deque(prompt for prompt in self.waiting if prompt.id != id)
        return found
