"""What the service is started with: one value, decided by the supervisor and handed to its children."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fewtune.errors import UsageError
from fewtune.types import Precision

VARIABLE = "FEWTUNE_SERVICE_SETTINGS"
"""The environment variable that children find their settings in. It is no argument, since the database's address may
hold a password and every user of the machine reads arguments."""


@dataclass(frozen=True, kw_only=True)
class ServiceSettings:
    """The same for the supervisor, the web process and every worker."""

    folder: Path
    """All that the service keeps."""
    database: str | None = None
    """Address of a PostgreSQL database; None is SQLite, in the folder."""
    host: str = "127.0.0.1"
    port: int = 8484
    """0 takes a free one."""
    workers: int = 1
    provider: str = "local"
    base: str = "pocket"
    """What is tuned where an alias or a request names nothing else; loaded when a worker starts."""
    bases: tuple[str, ...] = ()
    """Further bases that requests may name."""
    aliases: Mapping[str, str] = field(default_factory=dict[str, str])
    """Names that requests may use, beside those that are known anyway, and the base that each stands for."""
    openai_names: bool = True
    """Names of models that OpenAI tunes stand for the default base."""
    organisation: str = "fewtune"
    """The third part of a tuned model's name."""
    precision: Precision | None = None
    """How bases are kept and multiplied; None leaves it to the device."""
    address: str | None = None
    """Of the cluster that the provider `ray` trains on."""
    allowed_hosts: tuple[str, ...] = ()
    """Values of the Host header that are answered, beside those of the loopback."""
    allowed_origins: tuple[str, ...] = ()
    """Pages that a browser may call from; none by default."""
    limits: Mapping[str, float] = field(default_factory=dict[str, float])
    """Values of `Limits` that differ from its own."""
    conformance: bool = False
    """The store is filled with the rows that the official client's own tests ask for."""
    base64_results: bool = False
    """Result files are given in base64, as some clients expect."""
    minimum_examples: int = 10
    """Fewer lines in a training file are refused, as OpenAI does."""
    kept_checkpoints: int | None = 3
    """Of how many last epochs the checkpoint can be asked; None keeps each."""
    jobs_at_once: int = 4
    """Jobs that a worker trains side by side."""
    most_attempts: int = 5
    """How often a job is begun without getting anywhere, before it fails."""
    lease_seconds: float = 30.0
    """How long a worker that is not heard of keeps its jobs."""
    renewal_seconds: float = 5.0
    disk_full_seconds: float = 30.0
    """How long a job waits where the disk is full, before it tries again."""
    grace_seconds: float = 10.0
    """How long requests and workers have to end when the service is stopped."""

    @property
    def store(self) -> str | Path:
        """Where the database is, as `open_service_database` takes it."""
        return self.database or self.folder / "service.db"

    @property
    def all_bases(self) -> tuple[str, ...]:
        """The default one first."""
        return tuple(dict.fromkeys((self.base, *self.bases, *self.aliases.values())))

    def to_json(self) -> str:
        return json.dumps({**asdict(self), "folder": str(self.folder)})

    @classmethod
    def from_json(cls, text: str) -> ServiceSettings:
        """Read back what `to_json` wrote."""
        values: dict[str, Any] = json.loads(text)
        values["folder"] = Path(values["folder"])
        for name in ("bases", "allowed_hosts", "allowed_origins"):
            values[name] = tuple(values[name])
        return cls(**values)

    @classmethod
    def from_environment(cls) -> ServiceSettings:
        """Raises UsageError where nobody has put them there."""
        text = os.environ.get(VARIABLE)
        if text is None:
            raise UsageError(f"{VARIABLE} is not set.", fix="Start the service with: fewtune serve")
        return cls.from_json(text)
