"""The claims that this worker holds, renewed also while a step of the device takes long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from fewtune.service.worker.trouble import log_trouble
from fewtune.store.queue import Claim, Queue, Wish


class Leases:
    """The loop renews each second and learns the owners' wishes; a thread does where the loop is late."""

    def __init__(self, queue: Queue, worker: str, *, seconds: float, renewal: float) -> None:
        self._queue, self._worker = queue, worker
        self._seconds, self._renewal = seconds, renewal
        self._claims: dict[str, Claim] = {}
        self._lock = threading.Lock()
        self._renewed = time.monotonic()
        self._over = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._beat, daemon=True, name="heartbeat").start()

    def stop(self) -> None:
        self._over.set()

    def claim(self, limit: int) -> list[Claim]:
        claims = self._queue.claim(self._worker, seconds=self._seconds, limit=limit)
        with self._lock:
            self._claims.update({claim.job: claim for claim in claims})
        return claims

    def drop(self, claim: Claim) -> None:
        with self._lock:
            if self._claims.get(claim.job) is claim:
                del self._claims[claim.job]

    def renew(self) -> dict[str, Wish]:
        """By job; nothing where there is none."""
        with self._lock:
            claims = list(self._claims.values())
        wishes = self._queue.renew(claims, seconds=self._seconds) if claims else {}
        self._renewed = time.monotonic()
        return wishes

    def _beat(self) -> None:
        while not self._over.wait(min(1.0, self._renewal / 2)):
            if time.monotonic() - self._renewed >= self._renewal:
                _attempted(self.renew)


def _attempted(renew: Callable[[], object]) -> None:
    """The next beat comes; what is lost meanwhile the fence tells."""
    try:
        renew()
    except Exception as error:
        log_trouble("The leases could not be renewed.", error)
