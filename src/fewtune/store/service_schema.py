"""The service's tables, for SQLite and PostgreSQL; their schema is an append-only list of small functions."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any, cast

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.engine import Dialect


class Words(TypeDecorator[str]):
    """Text as clients send it. Half a character and NUL, which the databases cannot hold, become marks."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None:
            return None
        return value.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")


class Document(TypeDecorator[Any]):
    """JSON as ASCII text, so that every string comes back as it was. A number that JSON cannot say becomes null."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else json.dumps(_sayable(value), allow_nan=False)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else json.loads(value)


def _sayable(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _sayable(one) for key, one in cast(Mapping[str, object], value).items()}
    if isinstance(value, list | tuple):
        return [_sayable(one) for one in cast(list[object], value)]
    return value


schema = MetaData()
_WHOLE = BigInteger()
# SQLite numbers rows by itself only where the key is exactly INTEGER.
_NUMBER = BigInteger().with_variant(Integer(), "sqlite")


def _table(name: str, *parts: Any) -> Table:
    return Table(name, schema, *parts)


def _numbered() -> Column[int]:
    return Column("number", _NUMBER, primary_key=True, autoincrement=True)


versions = _table(
    "schema_version",
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("applied_at", _WHOLE, nullable=False),
)

keys = _table(
    "keys",
    _numbered(),
    Column("id", Words, nullable=False, unique=True),
    Column("name", Words, nullable=False),
    Column("project", Words, nullable=False),
    Column("admin", Boolean, nullable=False),
    Column("digest", Words, nullable=False, unique=True),
    Column("hint", Words, nullable=False),
    Column("created_at", _WHOLE, nullable=False),
    Column("last_used_at", _WHOLE),
    Column("revoked_at", _WHOLE),
)

files = _table(
    "files",
    _numbered(),
    Column("id", Words, nullable=False, unique=True),
    Column("project", Words, nullable=False),
    Column("filename", Words, nullable=False),
    Column("purpose", Words, nullable=False),
    Column("bytes", _WHOLE, nullable=False),
    Column("created_at", _WHOLE, nullable=False),
    Column("expires_at", _WHOLE),
    Column("sha256", Words, nullable=False),
    Column("status", Words, nullable=False),
    Index("files_by_project", "project", "number"),
)

uploads = _table(
    "uploads",
    _numbered(),
    Column("id", Words, nullable=False, unique=True),
    Column("project", Words, nullable=False),
    Column("filename", Words, nullable=False),
    Column("purpose", Words, nullable=False),
    Column("mime_type", Words, nullable=False),
    Column("bytes", _WHOLE, nullable=False),
    Column("created_at", _WHOLE, nullable=False),
    Column("expires_at", _WHOLE, nullable=False),
    Column("file_lives_seconds", _WHOLE),
    Column("status", Words, nullable=False),
    Column("file", Words),
    Column("order", Document),
)

parts = _table(
    "parts",
    _numbered(),
    Column("id", Words, nullable=False, unique=True),
    Column("upload", Words, ForeignKey("uploads.id"), nullable=False, index=True),
    Column("bytes", _WHOLE, nullable=False),
    Column("created_at", _WHOLE, nullable=False),
)

jobs = _table(
    "jobs",
    Column("number", _NUMBER, primary_key=True, autoincrement=False),
    Column("id", Words, nullable=False, unique=True),
    Column("project", Words, nullable=False),
    Column("key_id", Words, nullable=False),
    Column("model", Words, nullable=False),
    Column("base", Words, nullable=False),
    Column("parent", Words),
    Column("method", Words, nullable=False),
    Column("training_file", Words, nullable=False),
    Column("validation_file", Words),
    Column("hyperparameters", Document, nullable=False),
    Column("seed", _WHOLE, nullable=False),
    Column("suffix", Words),
    Column("metadata", Document),
    Column("integrations", Document),
    Column("alias", Words),
    Column("created_at", _WHOLE, nullable=False),
    Column("finished_at", _WHOLE),
    Column("state", Words, nullable=False),
    Column("stage", Words, nullable=False),
    Column("paused", Boolean, nullable=False),
    Column("cancelling", Boolean, nullable=False),
    Column("not_before", Float(53), nullable=False),
    Column("plan", Document),
    Column("trained_tokens", _WHOLE),
    Column("fine_tuned_model", Words),
    Column("result_files", Document, nullable=False),
    Column("error", Document),
    Column("estimated_finish", _WHOLE),
    Column("attempts", Integer, nullable=False),
    Column("fence", _WHOLE, nullable=False),
    Column("worker", Words),
    Column("lease_until", Float(53), nullable=False),
    Index("jobs_by_project", "project", "number"),
    Index("jobs_by_state", "state", "number"),
)

job_metadata = _table(
    "job_metadata",
    Column("job", Words, ForeignKey("jobs.id"), primary_key=True),
    Column("key", Words, primary_key=True),
    Column("value", Words, nullable=False),
)

creations = _table(
    "creations",
    _numbered(),
    Column("key_id", Words, nullable=False),
    Column("idempotency_key", Words),
    Column("body_sha256", Words, nullable=False),
    Column("job", Words, ForeignKey("jobs.id"), nullable=False),
    Column("created_at", Float(53), nullable=False),
    Column("first_is_missing", Boolean, nullable=False),
    UniqueConstraint("key_id", "idempotency_key"),
    Index("creations_by_body", "key_id", "body_sha256"),
)

events = _table(
    "events",
    _numbered(),
    Column("id", Words, nullable=False, unique=True),
    Column("job", Words, ForeignKey("jobs.id"), nullable=False),
    Column("created_at", _WHOLE, nullable=False),
    Column("level", Words, nullable=False),
    Column("message", Words, nullable=False),
    Column("type", Words, nullable=False),
    Column("data", Document),
    Column("once", Words),
    UniqueConstraint("job", "once"),
    Index("events_by_job", "job", "number"),
)

checkpoints = _table(
    "checkpoints",
    _numbered(),
    Column("id", Words, nullable=False, unique=True),
    Column("job", Words, ForeignKey("jobs.id"), nullable=False),
    Column("created_at", _WHOLE, nullable=False),
    Column("step", _WHOLE, nullable=False),
    Column("model", Words, nullable=False),
    Column("metrics", Document, nullable=False),
    UniqueConstraint("job", "step"),
)

models = _table(
    "models",
    _numbered(),
    Column("name", Words, nullable=False, unique=True),
    Column("key", Words, nullable=False, unique=True),
    Column("project", Words, nullable=False),
    Column("base", Words, nullable=False),
    Column("kind", Words, nullable=False),
    Column("folder", Words),
    Column("job", Words),
    Column("step", _WHOLE),
    Column("created_at", _WHOLE, nullable=False),
    Index("models_by_project", "project", "number"),
)

permissions = _table(
    "permissions",
    _numbered(),
    Column("id", Words, nullable=False, unique=True),
    Column("model", Words, nullable=False),
    Column("owner", Words, nullable=False),
    Column("project", Words, nullable=False),
    Column("created_at", _WHOLE, nullable=False),
    UniqueConstraint("model", "project"),
)

chat_completions = _table(
    "chat_completions",
    _numbered(),
    Column("id", Words, nullable=False, unique=True),
    Column("project", Words, nullable=False),
    Column("created_at", _WHOLE, nullable=False),
    Column("model", Words, nullable=False),
    Column("metadata", Document, nullable=False),
    Column("messages", Document, nullable=False),
    Column("answer", Document, nullable=False),
    Index("chat_completions_by_project", "project", "number"),
    Index("chat_completions_by_age", "created_at"),
)

chat_completion_metadata = Table(
    "chat_completion_metadata",
    schema,
    Column("completion", Words, ForeignKey("chat_completions.id"), primary_key=True),
    Column("key", Words, primary_key=True),
    Column("value", Words, nullable=False),
)

FIRST_TABLES = (
    keys,
    files,
    uploads,
    parts,
    jobs,
    job_metadata,
    creations,
    events,
    checkpoints,
    models,
    permissions,
)


def _m001_first_tables(connection: Connection) -> None:
    schema.create_all(connection, tables=FIRST_TABLES)


def _m002_chat_completions(connection: Connection) -> None:
    schema.create_all(connection, tables=[chat_completions, chat_completion_metadata])


MIGRATIONS: tuple[Callable[[Connection], None], ...] = (_m001_first_tables, _m002_chat_completions)
"""Never edited, only appended to; `schema_version` has a row for each that was applied."""
