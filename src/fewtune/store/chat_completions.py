"""Chat completions whose caller asked for them to be kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, delete, exists, insert, or_, select, update

from fewtune.store.rows import Order, Page, as_record, page_of
from fewtune.store.service_database import reading, writing
from fewtune.store.service_schema import chat_completion_metadata, chat_completions

KEPT_SECONDS = 30 * 24 * 3600
"""As long as OpenAI keeps them."""
MOST_KEPT = 1000
"""Of one project; the oldest make room."""

_table = chat_completions
_pairs = chat_completion_metadata


@dataclass(frozen=True, kw_only=True)
class ChatCompletionRecord:
    id: str
    project: str
    created_at: int
    model: str
    """As it was asked for."""
    metadata: Mapping[str, str]
    messages: list[Any]
    """As they were asked."""
    answer: Mapping[str, Any]
    """As it was told, but for the metadata."""


class ChatCompletions:
    def __init__(self, engine: Engine, *, clock: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._clock = clock

    def add(self, record: ChatCompletionRecord) -> None:
        """Keep it; what is too old, and what is too much, goes."""
        with writing(self._engine) as connection:
            connection.execute(insert(_table).values(**vars(record)))
            _tag(connection, record.id, record.metadata)
            self._make_room(connection, record.project)

    def get(self, project: str, id: str) -> ChatCompletionRecord | None:
        with reading(self._engine) as connection:
            row = connection.execute(select(_table).where(*self._kept(project), _table.c.id == id)).mappings().first()
        return None if row is None else as_record(ChatCompletionRecord, row)

    def list(
        self,
        project: str,
        *,
        model: str | None = None,
        metadata: Mapping[str, str] | None = None,
        after: str | None = None,
        limit: int = 20,
        order: Order = "asc",
    ) -> Page[ChatCompletionRecord]:
        wanted = self._kept(project)
        if model is not None:
            wanted.append(_table.c.model == model)
        for key, value in (metadata or {}).items():
            pair = (_pairs.c.completion == _table.c.id, _pairs.c.key == key, _pairs.c.value == value)
            wanted.append(exists().where(*pair))
        with reading(self._engine) as connection:
            rows, has_more = page_of(connection, _table, *wanted, after=after, limit=limit, order=order)
        return Page(items=[as_record(ChatCompletionRecord, row) for row in rows], has_more=has_more)

    def change_metadata(self, project: str, id: str, metadata: Mapping[str, str]) -> ChatCompletionRecord | None:
        """Put these in the place of those that it has. None where it is not there."""
        with writing(self._engine) as connection:
            own = (*self._kept(project), _table.c.id == id)
            if connection.execute(update(_table).where(*own).values(metadata=dict(metadata))).rowcount == 0:
                return None
            connection.execute(delete(_pairs).where(_pairs.c.completion == id))
            _tag(connection, id, metadata)
        return self.get(project, id)

    def delete(self, project: str, id: str) -> bool:
        """Whether it was there."""
        with writing(self._engine) as connection:
            return _delete(connection, _table.c.project == project, _table.c.id == id)

    def _kept(self, project: str) -> list[ColumnElement[bool]]:
        return [_table.c.project == project, _table.c.created_at > int(self._clock()) - KEPT_SECONDS]

    def _make_room(self, connection: Connection, project: str) -> None:
        newest = select(_table.c.number).where(_table.c.project == project).order_by(_table.c.number.desc())
        last = connection.execute(newest.offset(MOST_KEPT).limit(1)).scalar()
        old = _table.c.created_at <= int(self._clock()) - KEPT_SECONDS
        beyond = (_table.c.project == project) & (_table.c.number <= (last or 0))
        _delete(connection, or_(old, beyond))


def _tag(connection: Connection, id: str, metadata: Mapping[str, str]) -> None:
    for key, value in metadata.items():
        connection.execute(insert(_pairs).values(completion=id, key=key, value=value))


def _delete(connection: Connection, *conditions: ColumnElement[bool]) -> bool:
    connection.execute(delete(_pairs).where(_pairs.c.completion.in_(select(_table.c.id).where(*conditions))))
    return connection.execute(delete(_table).where(*conditions)).rowcount > 0
