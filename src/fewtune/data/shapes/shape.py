"""What all shapes have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fewtune.data.columns import named
from fewtune.data.conversation import plain
from fewtune.data.records import Record
from fewtune.data.shapes.cells import cell, text, texts
from fewtune.types import Example, Message


@dataclass(frozen=True, kw_only=True)
class Columns:
    """What the user named; None is left to be recognised."""

    prompt: str | None = None
    completion: str | None = None
    prompt_template: str | None = None
    """A prompt made of several columns, as in `{title} ({year})`."""
    group: str | None = None
    references: tuple[str, ...] = ()
    """Columns of further good answers."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What a shape is recognised by."""

    columns: Sequence[str]
    records: Sequence[Record]
    """The first ones of the file."""
    where: str
    """Where the columns are named, as `file:line`."""
    group_column: str | None = None
    """As it is spelt in the file."""

    def column(self, *names: str) -> str | None:
        """The column with the first of these names that occurs; case and white space around a name do not count."""
        folded = {column.strip().casefold(): column for column in reversed(self.columns)}
        return next((folded[name] for name in names if name in folded), None)

    def values(self, column: str) -> list[Any]:
        """The column's values that are there and not empty."""
        found = (record.values.get(column) for record in self.records)
        return [value for value in found if value not in (None, "", [])]

    def holds(self, column: str, kind: type) -> bool:
        """Whether the column has values, all of that kind, as JSON has them and tables do not."""
        found = [value for record in self.records if (value := record.values.get(column)) not in (None, "")]
        return bool(found) and all(isinstance(value, kind) for value in found)

    def named(self, name: str) -> str:
        """The column that the user means; raises DataError where there is no such one."""
        return named(self.columns, name, self.where)


@dataclass(frozen=True, kw_only=True)
class Shape(ABC):
    """How the records of a table become examples."""

    name: str
    prompt_columns: tuple[str, ...]
    completion_column: str
    group_column: str | None = None
    reference_columns: tuple[str, ...] = ()
    """Each cell holds one more good answer, or a list of them; an empty one holds none."""
    other_columns: tuple[str, ...] = ()
    """Used as well: an instruction to the system, tools."""
    decided: tuple[str, ...] = ()
    """What was found out or assumed while recognising, as sentences."""
    left_out: Counter[str] = field(default_factory=Counter[str], compare=False)
    """How many of what gave no example, or no part of one; it grows while examples are read."""

    @property
    def used_columns(self) -> tuple[str, ...]:
        """Each once; the file's other columns are ignored."""
        group = () if self.group_column is None else (self.group_column,)
        beside = (*self.other_columns, *group, *self.reference_columns)
        return tuple(dict.fromkeys((*self.prompt_columns, self.completion_column, *beside)))

    @property
    def notes(self) -> tuple[str, ...]:
        """What was decided, as sentences; complete when all examples have been read."""
        counts = ", ".join(f"{what} ({count:,})" for what, count in self.left_out.items())
        return (*self.decided, *([f"Left out: {counts}."] if counts else []))

    def examples(self, records: Iterable[Record], first_row: int = 0) -> Iterator[Example]:
        """The examples, numbered from `first_row`; raises DataError at the record that has another shape."""
        row = first_row
        for record in records:
            example = self.example(record, row)
            if example is not None:
                yield replace(example, references=self.references(record)) if self.reference_columns else example
                row += 1

    @abstractmethod
    def example(self, record: Record, row: int) -> Example | None:
        """The example that a record gives; None, counted in `left_out`, where it gives none."""

    def group(self, record: Record) -> str | None:
        """The record's group; a row whose cell is empty belongs to none."""
        return None if self.group_column is None else text(cell(record, self.group_column), record.source) or None

    def references(self, record: Record) -> tuple[str, ...]:
        """The record's further good answers, each once; a record may lack the column."""
        found = (one for name in self.reference_columns for one in texts(record.values.get(name), record.source))
        return tuple(dict.fromkeys(one for one in found if one.strip()))

    def conversation(
        self, record: Record, row: int, messages: tuple[Message, ...], tools: str | None = None
    ) -> Example:
        """The example that these turns make."""
        prompt, completion = plain(messages)
        return Example(
            row=row,
            prompt=prompt,
            completion=completion,
            source=record.source,
            messages=messages,
            tools=tools,
            group=self.group(record),
        )
