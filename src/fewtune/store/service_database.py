"""Open the service's database, SQLite or PostgreSQL, with one meaning of a transaction on both."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from sqlalchemy import URL, Connection, Engine, create_engine, event, func, insert, make_url, select, text
from sqlalchemy.exc import ArgumentError, DatabaseError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from fewtune.errors import ProviderError, UnfinishedError, UsageError, from_os_error
from fewtune.store.service_schema import MIGRATIONS, schema, versions

FILE_NAME = "service.db"
_POSTGRESQL = ("postgres", "postgresql", "postgresql+psycopg")
_POOL = {"pool_size": 16, "max_overflow": 48, "pool_timeout": 30}
"""FastAPI runs at most 40 requests in threads at once; the rest is room."""
_CONNECTING = {"connect_timeout": 10, "client_encoding": "utf8"}
_WRITERS_LOCK = 0x66657774756E65
"""The name of our advisory lock in PostgreSQL: the bytes of "fewtune"."""


def open_service_database(where: str | Path) -> Engine:
    """Open or create the database and bring its schema up to date; several processes may do so at once.

    `where` is the path of an SQLite file, or a `postgresql://` URL.
    Raises UsageError where it cannot be used or is newer than this version, ProviderError where no server answers.
    """
    if isinstance(where, str) and "://" in where:
        return _open_postgresql(_parsed(where))
    return _open_sqlite(Path(where))


@contextmanager
def writing(engine: Engine) -> Generator[Connection]:
    """One transaction. Whoever is inside is the only writer, so what is read in it still holds at its commit."""
    with _translated(engine), engine.connect() as connection, connection.execution_options(fewtune_writes=True).begin():
        yield connection


@contextmanager
def reading(engine: Engine) -> Generator[Connection]:
    """One transaction that waits for no writer."""
    with _translated(engine), engine.connect() as connection, connection.begin():
        yield connection


def is_sqlite(engine: Engine) -> bool:
    return engine.dialect.name == "sqlite"


@contextmanager
def _closed_unless_opened(engine: Engine) -> Generator[None]:
    try:
        yield
    except BaseException:
        engine.dispose()
        raise


def _open_sqlite(path: Path) -> Engine:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise from_os_error(error, "make the service's folder", path.parent) from error
    engine = create_engine(URL.create("sqlite", database=str(path)), **_POOL)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    with _closed_unless_opened(engine):
        _migrate_sqlite(engine, path)
    return engine


def _migrate_sqlite(engine: Engine, path: Path) -> None:
    try:
        # SQLite does not wait where two connections turn a new file to WAL at the same moment.
        with FileLock(f"{path}.lock", timeout=30, mode=0o600):
            # SQLite itself would let others read it, and its log takes the mode of the file.
            path.touch(mode=0o600)
            _migrate(engine)
    except Timeout as error:
        raise UsageError(
            "Another process has been opening the service's database for half a minute.",
            where=str(path),
            fix="Stop it, then try again.",
        ) from error
    except OSError as error:
        raise from_os_error(error, "open the service's database", path) from error
    except DatabaseError as error:
        raise UsageError(
            f"The service's database cannot be used: {error.orig}.",
            where=str(path),
            fix="Check its permissions, or put a backup in place of a damaged one: fewtune restore.",
        ) from error


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # Without it Python's module begins transactions by itself, and never an immediate one.
    connection.isolation_level = None
    # FULL, not NORMAL: what was acknowledged survives a power cut.
    for pragma in ("busy_timeout=20000", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and writes later cannot wait for another writer; SQLite fails it at once.
    immediate = connection.get_execution_options().get("fewtune_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def _parsed(where: str) -> URL:
    try:
        url = make_url(where)
    except (ArgumentError, ValueError):
        # Not shown, and no cause kept: it may hold a password.
        raise UsageError("The database's URL cannot be read.", fix=_URL_ADVICE) from None
    if url.drivername not in _POSTGRESQL:
        raise UsageError(f"The service does not know databases of the kind {url.drivername!r}.", fix=_URL_ADVICE)
    if "@" in (url.host or ""):
        # What stands before it there is the rest of a password.
        raise UsageError("The database's URL has one @ too many.", fix="In a password write %40 for it.")
    return url.set(drivername="postgresql+psycopg")


_URL_ADVICE = "Give postgresql://USER:PASSWORD@HOST/DATABASE, or leave the database out for an SQLite file."


def _open_postgresql(url: URL) -> Engine:
    try:
        engine = create_engine(url, pool_pre_ping=True, connect_args=_CONNECTING, **_POOL)
    except ModuleNotFoundError as error:
        raise UsageError(
            "PostgreSQL needs the package psycopg, which is not installed.",
            fix='Install it: pip install "fewtune[postgresql]".',
        ) from error
    event.listen(engine, "connect", _prepare_postgresql)
    event.listen(engine, "begin", _begin_postgresql)
    with _closed_unless_opened(engine):
        _migrate_postgresql(engine, url)
    return engine


def _migrate_postgresql(engine: Engine, url: URL) -> None:
    try:
        _demand_unicode(engine)
        _migrate(engine)
    except (OperationalError, InterfaceError) as error:
        raise ProviderError(
            f"The service's database does not answer: {_reason(error, url)}.",
            where=_place(url),
            fix="Check that PostgreSQL runs there, and the user, password and database of the URL.",
        ) from None
    except DatabaseError as error:
        raise UsageError(
            f"The service's database cannot be used: {_reason(error, url)}.",
            where=_place(url),
            fix="Give its user the right to create tables there, or name another database.",
        ) from None


def _prepare_postgresql(connection: Any, _record: Any) -> None:
    # A process that stands still in a transaction, or lost its network there, must not stop all others.
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '30s'")
        cursor.execute("SET idle_in_transaction_session_timeout = '20s'")
    connection.commit()


def _begin_postgresql(connection: Connection) -> None:
    # One writer at a time, as in SQLite: the same reasoning then holds on both, and a commit takes a millisecond or
    # two where a job trains for minutes.
    if connection.get_execution_options().get("fewtune_writes", False):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITERS_LOCK})")


def _demand_unicode(engine: Engine) -> None:
    with engine.connect() as connection:
        encoding = connection.execute(text("SHOW server_encoding")).scalar_one()
    if encoding != "UTF8":
        raise UsageError(
            f"The service's database keeps text as {encoding}, not as UTF8.",
            where=_place(engine.url),
            fix="Create one with: createdb --encoding UTF8 --template template0 NAME.",
        )


def _migrate(engine: Engine) -> None:
    with engine.connect() as connection, connection.execution_options(fewtune_writes=True).begin():
        schema.create_all(connection, tables=[versions])
        version = connection.execute(select(func.max(versions.c.version))).scalar_one() or 0
        if version > len(MIGRATIONS):
            raise UsageError(
                "The service's database was written by a newer fewtune.",
                where=_place(engine.url),
                fix="Upgrade: pip install -U fewtune.",
            )
        for number, migration in enumerate(MIGRATIONS[version:], start=version + 1):
            migration(connection)
            connection.execute(insert(versions).values(version=number, applied_at=int(time.time())))


@contextmanager
def _translated(engine: Engine) -> Generator[None]:
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeoutError) as error:
        raise UnfinishedError(
            f"The service's database could not be used: {_reason(error, engine.url)}.",
            where=_place(engine.url),
            fix="Free some space, or see that the database runs; then try again: nothing was half done.",
        ) from error


def _reason(error: Exception, url: URL) -> str:
    """The first line of what the database said, without a password that it might repeat."""
    said = str(getattr(error, "orig", None) or error).strip() or type(error).__name__
    reason = said.splitlines()[0].rstrip(".")
    for secret in (url.password, url.query.get("password")):
        if secret:
            reason = reason.replace(str(secret), "***")
    return reason


def _place(url: URL) -> str:
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    return f"{url.host or 'local socket'}{f':{url.port}' if url.port else ''}/{url.database or ''}"
