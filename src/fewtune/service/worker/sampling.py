"""Questions to one base, joined to the provider's one live `sample` while others are being written."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from fewtune.providers.contract import BASE, Ask, Chunk, Provider, Reply, Request, Withdrawal
from fewtune.service.worker.trouble import log_trouble


class SamplingFailed(Exception):
    """The provider's iterator broke; these questions get no answer."""

    def __init__(self, ids: list[int]) -> None:
        super().__init__()
        self.ids = ids


class Sampling:
    """A question's id is unique among those that are not answered."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._arrivals = _Arrivals()
        self._replies: Iterator[Reply] | None = None
        self._open: set[int] = set()

    @property
    def waiting(self) -> int:
        """Questions that the provider has not taken yet."""
        return self._arrivals.requests

    @property
    def writing(self) -> int:
        return len(self._open) - self.waiting

    @property
    def busy(self) -> bool:
        return bool(self._open)

    def ask(self, request: Request) -> None:
        self._open.add(request.id)
        self._arrivals.put(request)

    def withdraw(self, id: int) -> None:
        if id in self._open:
            self._arrivals.put(Withdrawal(id=id))

    def step(self) -> list[Reply]:
        """What about one decoding step says; only to be called while there are questions.

        A step is over when the provider asks for more questions, or has told something of each answer. Raises
        SamplingFailed.
        """
        polled, told = self._arrivals.polled, list[Reply]()
        most = max(1, self.writing)
        while self._open and len(told) < most and (not told or self._arrivals.polled == polled):
            reply = self._next()
            told.append(reply)
            if not isinstance(reply, Chunk):
                self._open.discard(reply.id)
        return told

    def _next(self) -> Reply:
        try:
            if self._replies is None:
                self._replies = iter(self._provider.sample(BASE, self._arrivals))
            return next(self._replies)
        except Exception as error:
            log_trouble("Sampling failed.", error)
            ids = sorted(self._open)
            self._replies, self._arrivals = None, _Arrivals()
            self._open.clear()
            raise SamplingFailed(ids) from error

    def close(self) -> None:
        if self._replies is not None:
            close = getattr(self._replies, "close", None)
            if close:
                close()
            self._replies = None


class _Arrivals:
    """The live iterator: never at its end, and never waiting."""

    def __init__(self) -> None:
        self._queue: deque[Request | Withdrawal] = deque()
        self.requests = 0
        self.polled = 0

    def put(self, one: Request | Withdrawal) -> None:
        self._queue.append(one)
        self.requests += isinstance(one, Request)

    def __iter__(self) -> Iterator[Ask]:
        return self

    def __next__(self) -> Ask:
        self.polled += 1
        if not self._queue:
            return None
        one = self._queue.popleft()
        self.requests -= isinstance(one, Request)
        return one
