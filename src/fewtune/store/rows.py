"""Rows as records, and pages of a list that may grow while it is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Generic, Literal, TypeVar, cast

from sqlalchemy import ColumnElement, Connection, RowMapping, Table, select

T = TypeVar("T")
Order = Literal["asc", "desc"]


@dataclass(frozen=True, kw_only=True)
class Page(Generic[T]):
    items: list[T]
    has_more: bool


def as_record(kind: type[T], row: Mapping[Any, Any], **computed: Any) -> T:
    """The dataclass `kind` with the columns that its fields name, and what no column says."""
    names = [field.name for field in fields(cast(Any, kind)) if field.name not in computed]
    return kind(**{name: row[name] for name in names}, **computed)


def page_of(
    connection: Connection,
    table: Table,
    *conditions: ColumnElement[bool],
    after: str | None,
    limit: int,
    order: Order = "desc",
) -> tuple[list[RowMapping], bool]:
    """Rows by their rising number, and whether more follow.

    `after` is the id of the last row of the page before; one that is not among them gives the first page. Numbers rise
    in the order of commits, so a row that comes meanwhile moves no other into or out of the pages still to be read.
    """
    if limit <= 0:
        return [], False
    number = table.c.number
    found = select(table).where(*conditions)
    last: Any = None
    if after is not None:
        last = connection.execute(select(number).where(*conditions, table.c.id == after)).scalar()
    if last is not None:
        found = found.where(number < last if order == "desc" else number > last)
    ordered = found.order_by(number.desc() if order == "desc" else number.asc()).limit(limit + 1)
    rows = list(connection.execute(ordered).mappings())
    return rows[:limit], len(rows) > limit
