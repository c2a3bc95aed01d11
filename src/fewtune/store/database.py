"""One SQLite file, opened safely; its schema is an append-only list of small functions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock
from sqlalchemy import (
    JSON,
    Column,
    Connection,
    Engine,
    Float,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    event,
    inspect,
    text,
)
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import NullPool

from fewtune.errors import UsageError, from_os_error

schema = MetaData()
_OPTIONAL_JSON = JSON(none_as_null=True)

runs = Table(
    "runs",
    schema,
    Column("id", String, primary_key=True),
    Column("created_at", String, nullable=False),
    Column("state", String, nullable=False),
    Column("folder", String, nullable=False),
    Column("data_path", String, nullable=False),
    Column("data_sha256", String, nullable=False),
    Column("settings", JSON, nullable=False),
    Column("summary", _OPTIONAL_JSON),
    Column("error", String),
)

trials = Table(
    "trials",
    schema,
    Column("run_id", String, primary_key=True),
    Column("id", String, primary_key=True),
    Column("plan", JSON, nullable=False),
    Column("seed", Integer, nullable=False),
    Column("handle", String, nullable=False),
    Column("state", String, nullable=False),
    Column("failure", String),
    Column("tokens", Integer, nullable=False, default=0),
    Column("seconds", Float, nullable=False, default=0.0),
    Column("usd", Float),
)

points = Table(
    "points",
    schema,
    Column("run_id", String, primary_key=True),
    Column("trial_id", String, primary_key=True),
    Column("step", Integer, primary_key=True),
    Column("epoch", Float, nullable=False),
    Column("train_loss", Float),
    Column("train_token_accuracy", Float),
    Column("learning_rate", Float),
    Column("gradient_norm", Float),
    Column("tokens", Integer, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("valid_loss", Float),
    Column("valid_token_accuracy", Float),
    Column("valid_sequence_accuracy", Float),
    Column("valid_row_losses", _OPTIONAL_JSON),
    Column("valid_row_exact", _OPTIONAL_JSON),
)

checkpoints = Table(
    "checkpoints",
    schema,
    Column("run_id", String, primary_key=True),
    Column("trial_id", String, primary_key=True),
    Column("epoch", Integer, primary_key=True),
    Column("step", Integer, nullable=False),
    Column("model", String, nullable=False),
    Column("folder", String),
)

predictions = Table(
    "predictions",
    schema,
    Column("run_id", String, primary_key=True),
    Column("system", String, primary_key=True),
    Column("row", Integer, primary_key=True),
    Column("text", String),
    Column("tokens", Integer),
    Column("stop_reason", String),
    Column("seconds", Float),
    Column("log_likelihoods", _OPTIONAL_JSON),
    Column("greedy", _OPTIONAL_JSON),
    Column("more_texts", _OPTIONAL_JSON),
    Column("label_log_likelihoods", _OPTIONAL_JSON),
)


agreements = Table(
    "agreements",
    schema,
    Column("run_id", String, primary_key=True),
    Column("limits", JSON, nullable=False),
    Column("epoch", JSON, nullable=False),
    Column("training_seconds", Float, nullable=False, default=0.0),
)

replies = Table(
    "replies",
    schema,
    Column("run_id", String, primary_key=True),
    Column("purpose", String, primary_key=True),
    Column("question", String, primary_key=True),
    Column("text", String, nullable=False),
    Column("stop_reason", String, nullable=False),
    Column("prompt_tokens", Integer, nullable=False),
    Column("tokens", Integer, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("usd", Float),
)


def _m001_first_tables(connection: Connection) -> None:
    schema.create_all(connection, tables=[runs, trials, points, checkpoints, predictions])


def _m002_agreements(connection: Connection) -> None:
    schema.create_all(connection, tables=[agreements])


def _m003_label_log_likelihoods(connection: Connection) -> None:
    _add_column(connection, "predictions", "label_log_likelihoods")


def _m004_replies(connection: Connection) -> None:
    schema.create_all(connection, tables=[replies])


def _m005_row_exact(connection: Connection) -> None:
    _add_column(connection, "points", "valid_row_exact")


def _m006_more_texts(connection: Connection) -> None:
    _add_column(connection, "predictions", "more_texts")


def _add_column(connection: Connection, table: str, column: str) -> None:
    """Of JSON; a new file has it from its first tables on."""
    if column not in {one["name"] for one in inspect(connection).get_columns(table)}:
        connection.execute(text(f"ALTER TABLE {table} ADD COLUMN {column} JSON"))


MIGRATIONS: tuple[Callable[[Connection], None], ...] = (
    _m001_first_tables,
    _m002_agreements,
    _m003_label_log_likelihoods,
    _m004_replies,
    _m005_row_exact,
    _m006_more_texts,
)
"""Never edited, only appended to; the file's user_version counts how many it has seen."""


def open_database(path: Path) -> Engine:
    """Open or create the file and bring its schema up to date.

    Raises UsageError where the file cannot be written, is no database, or is newer than this version.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise from_os_error(error, "make the state folder", path.parent) from error
    engine = create_engine(f"sqlite:///{path}", poolclass=NullPool)
    event.listen(engine, "connect", _set_pragmas)
    try:
        # SQLite does not wait where two connections turn a new file to WAL at the same moment.
        with FileLock(f"{path}.lock", timeout=10):
            _migrate(engine, path)
    except OSError as error:
        raise from_os_error(error, "open the state file", path) from error
    except DatabaseError as error:
        raise UsageError(
            f"The state file cannot be used: {error.orig}.",
            where=str(path),
            fix="Check its permissions, move a damaged one away (its list of runs is lost), or set FEWTUNE_HOME.",
        ) from error
    return engine


def _set_pragmas(connection: Any, _record: Any) -> None:
    # FULL, not NORMAL: what was acknowledged survives a power cut; thousands of commits a second suffice here.
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=10000", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _migrate(engine: Engine, path: Path) -> None:
    with engine.connect() as connection:
        # Taken before the version is read, so that two processes cannot both create the tables.
        connection.execute(text("BEGIN IMMEDIATE"))
        version = connection.execute(text("PRAGMA user_version")).scalar_one()
        if version > len(MIGRATIONS):
            raise UsageError(
                "The state file was written by a newer fewtune.",
                where=str(path),
                fix="Upgrade: pip install -U fewtune.",
            )
        for migration in MIGRATIONS[version:]:
            migration(connection)
        connection.execute(text(f"PRAGMA user_version = {len(MIGRATIONS)}"))
        connection.commit()
