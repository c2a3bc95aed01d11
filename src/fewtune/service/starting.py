"""What happens before the first request: extras, the folder, the first key, the runs that are served too."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from sqlalchemy import Engine

from fewtune import providers, settings
from fewtune.errors import OccupiedError, UsageError, from_os_error
from fewtune.service.published import Published, find_runs, publish
from fewtune.service.settings import ServiceSettings
from fewtune.service.supervisor import bind
from fewtune.store.keys import Keys
from fewtune.store.service_backup import BackupRecord, backup
from fewtune.store.service_database import FILE_NAME, open_service_database

PROJECT = "default"
"""Of the first key, and of the runs that are served."""
FIRST_KEY = "first"

_PROVIDERS = ("local", "fake")
_PACKAGES = ("fastapi", "uvicorn", "prometheus_client", "python_multipart", "llguidance")
_EVERYWHERE = ("", "0.0.0.0", "::")


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What whoever starts the service said; None, and nothing, leave it to settings and defaults."""

    host: str
    port: int
    workers: int
    bases: Sequence[str]
    aliases: Sequence[str]
    """As NAME=BASE."""
    openai_names: bool
    provider: str | None
    folder: Path | None
    database: str | None
    allowed_hosts: Sequence[str]
    allowed_origins: Sequence[str]
    base64_results: bool
    conformance: bool


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """All is there: connections are taken, and wait for the web process."""

    settings: ServiceSettings
    key: str | None
    """The secret of a key that was made now; None where there were keys."""
    runs: tuple[str, ...]
    """Ids of the runs that can be asked for."""
    listening: socket.socket
    lock: FileLock
    """Of the folder, for as long as the process lives."""

    @property
    def models(self) -> tuple[str, ...]:
        """What a request may name, but for what was tuned before."""
        return (*self.settings.all_bases, *self.runs)

    @property
    def address(self) -> str:
        """For a client; for one on this machine, where the service listens everywhere."""
        port = self.listening.getsockname()[1]
        host = "127.0.0.1" if self.settings.host in _EVERYWHERE else self.settings.host
        return f"http://{f'[{host}]' if ':' in host else host}:{port}/v1"

    def to_json(self) -> dict[str, Any]:
        return {"address": self.address, "key": self.key, "models": self.models, "folder": str(self.settings.folder)}


def prepare(wishes: Wishes, run_names: Sequence[str]) -> Prepared:
    """Look at everything that could be wrong, listen, and only then make a key, which is told once.

    Raises UsageError for what cannot be started so, OccupiedError where the folder's service runs already.
    """
    _check_extra()
    runs = find_runs(run_names)
    chosen = _settings(wishes, runs)
    _check_reach(chosen)
    engine = _open(chosen.folder, chosen.database)
    lock = _hold(chosen.folder)
    keys = Keys(engine)
    first = all(one.revoked_at is not None for one in keys.list())
    if first and not is_loopback(chosen.host):
        raise UsageError(
            f"There is no key yet, and at {chosen.host} others than you can reach the service.",
            where="--host",
            fix="Make a key first: fewtune keys create NAME",
        )
    publish(runs, engine, chosen.folder, PROJECT)
    listening = bind(chosen.host, chosen.port)
    key = keys.create(FIRST_KEY, PROJECT, admin=True)[1] if first else None
    engine.dispose()
    return Prepared(settings=chosen, key=key, runs=tuple(one.id for one in runs), listening=listening, lock=lock)


def open_keys(folder: Path | None, database: str | None) -> Keys:
    """Those of the service in this folder; the database is made where there is none yet."""
    return Keys(_open(service_folder(folder), database_url(database)))


def back_up(folder: Path | None, target: Path) -> BackupRecord:
    """Raises UsageError where there is no service, where its database is PostgreSQL, and where the target exists."""
    place, database = service_folder(folder), database_url(None)
    if database is None and not (place / FILE_NAME).exists():
        raise UsageError("There is no service here.", where=str(place), fix="Name its folder: --folder")
    return backup(_open(place, database), place, target)


def service_folder(given: Path | None) -> Path:
    """The folder that was given, else the one below FEWTUNE_HOME."""
    return (given or settings.load().home / "service").expanduser().absolute()


def database_url(given: str | None) -> str | None:
    """What was given, else FEWTUNE_DATABASE_URL; None is SQLite."""
    return given or os.environ.get("FEWTUNE_DATABASE_URL") or None


def is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_extra() -> None:
    missing = next((name for name in _PACKAGES if find_spec(name) is None), None)
    if missing:
        raise UsageError(
            f"The package {missing!r}, which the service needs, is not installed.",
            fix="Install it with: pip install 'fewtune[serve]'",
        )


def _settings(wishes: Wishes, runs: Sequence[Published]) -> ServiceSettings:
    own = settings.load(provider=wishes.provider)
    if own.provider not in _PROVIDERS:
        raise UsageError(
            f"The service cannot train with the provider {own.provider!r}.",
            where="--provider",
            fix=f"Choose one of: {', '.join(_PROVIDERS)}.",
        )
    providers.check_access(own.provider)
    first, *others = wishes.bases or (own.base,)
    aliases = dict(map(_alias, wishes.aliases))
    chosen = ServiceSettings(
        folder=service_folder(wishes.folder),
        database=database_url(wishes.database),
        host=wishes.host,
        port=wishes.port,
        workers=wishes.workers,
        provider=own.provider,
        base=first,
        bases=tuple(dict.fromkeys((*others, *(one.base for one in runs)))),
        aliases=aliases,
        openai_names=wishes.openai_names,
        precision=own.base_precision,
        allowed_hosts=tuple(wishes.allowed_hosts),
        allowed_origins=tuple(wishes.allowed_origins),
        base64_results=wishes.base64_results,
        conformance=wishes.conformance,
    )
    _check_bases(chosen)
    return chosen


def _alias(given: str) -> tuple[str, str]:
    name, sign, base = given.partition("=")
    if not (name and sign and base):
        raise UsageError(f"{given!r} is no alias.", where="--alias", fix="Write NAME=BASE, as in gpt-4o-mini=pocket.")
    return name, base


def _check_bases(chosen: ServiceSettings) -> None:
    """Now, rather than in a worker that would end again and again."""
    from fewtune.bases.folder import describe

    if providers.kind(chosen.provider).local_base:
        for base in chosen.all_bases:
            describe(base)


def _check_reach(chosen: ServiceSettings) -> None:
    """A Host header is answered only where it is known: an address that stands for all needs names beside it."""
    if chosen.host in _EVERYWHERE and not chosen.allowed_hosts:
        raise UsageError(
            f"At {chosen.host or 'every address'} the service would not know by which name clients reach it.",
            where="--host",
            fix="Name it, as in --allowed-host models.example.org",
        )


def _open(folder: Path, database: str | None) -> Engine:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise from_os_error(error, "make the service's folder", folder) from error
    return open_service_database(database or folder / FILE_NAME)


def _hold(folder: Path) -> FileLock:
    lock = FileLock(folder / "serve.lock", timeout=0, mode=0o600)
    try:
        lock.acquire()
    except Timeout as error:
        raise OccupiedError(
            "The service runs already with this folder.",
            where=str(folder),
            fix="Stop it first, or name another folder: --folder",
        ) from error
    return lock
