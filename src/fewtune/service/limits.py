"""How much a request may ask for, and how often."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields

from fewtune.errors import UsageError

_MEBIBYTE = 2**20


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bytes unless said; whoever starts the service may change each."""

    json_bytes: int = 8 * _MEBIBYTE
    json_depth: int = 64
    json_containers: int = 200_000
    """Objects and lists of one body: small in the text, but not in memory."""
    form_field_bytes: int = 64 * 1024
    file_bytes: int = 512 * _MEBIBYTE
    project_bytes: int = 20 * 1024 * _MEBIBYTE
    """Of all files of one project."""
    upload_bytes: int = 8 * 1024 * _MEBIBYTE
    """Of a file that is sent in parts."""
    part_bytes: int = 64 * _MEBIBYTE
    creations_per_minute: int = 600
    """Of files, parts, jobs, gradings and permissions, for each key."""
    waiting_jobs: int = 100
    """Of one project."""
    event_streams: int = 64
    graded_characters: int = 64 * 1024
    """Of each text that a grader compares."""
    choices: int = 16
    """Answers to one prompt (`n`)."""
    prompts: int = 128
    """Answers to all prompts of one completion together."""
    messages: int = 2048
    stops: int = 4
    stop_characters: int = 256
    logprobs: int = 20
    completion_logprobs: int = 5
    max_tokens: int = 4096

    @classmethod
    def changed(cls, values: Mapping[str, float]) -> Limits:
        """Raises UsageError for a name that is none of these, and for a value below 1."""
        known = {one.name for one in fields(cls)}
        for name, value in values.items():
            if name not in known:
                raise UsageError(f"There is no limit {name!r}.", fix=f"There are: {', '.join(sorted(known))}.")
            if not value >= 1 or math.isinf(value):
                raise UsageError(f"The limit {name} cannot be {value:g}.", fix="Give a whole number above 0.")
        return cls(**{name: int(value) for name, value in values.items()})


@dataclass(kw_only=True)
class Rate:
    """A bucket of permits for each name, filled evenly; it holds a minute's worth."""

    per_minute: int
    clock: Callable[[], float] = time.monotonic
    _buckets: dict[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, name: str) -> float:
        """Take one permit: 0, or the seconds until there will be one."""
        with self._lock:
            now = self.clock()
            permits, since = self._buckets.get(name, (float(self.per_minute), now))
            permits = min(float(self.per_minute), permits + (now - since) * self.per_minute / 60)
            taken = permits >= 1
            self._buckets[name] = (permits - 1 if taken else permits, now)
            return 0.0 if taken else (1 - permits) * 60 / self.per_minute
