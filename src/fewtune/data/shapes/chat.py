"""Conversations as OpenAI writes them: a list of turns, each with a role and a content."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from fewtune.data.conversation import parse_messages, parse_tools
from fewtune.data.records import Record
from fewtune.data.shapes.cells import are_turns, cell, structured
from fewtune.data.shapes.shape import Sample, Shape
from fewtune.types import Example, Message

CONVERSATIONS = ("messages", "conversations", "conversation")
"""Names of the column that holds the turns."""


@dataclass(frozen=True, kw_only=True)
class Chat(Shape):
    def example(self, record: Record, row: int) -> Example:
        value = structured(cell(record, self.completion_column), str(record.source))
        messages = parse_messages(value, str(record.source), self.left_out)
        return self.conversation(record, row, messages, tools_of(record, self.other_columns))


@dataclass(frozen=True, kw_only=True)
class ChatPairs(Shape):
    """The prompt is a list of turns and the completion another, as TRL writes them; only the latter is trained."""

    def example(self, record: Record, row: int) -> Example:
        given = self._turns(record, self.prompt_columns[0])
        wanted = self._turns(record, self.completion_column)
        messages = (*(replace(message, trained=False) for message in given), *wanted)
        return self.conversation(record, row, messages, tools_of(record, self.other_columns))

    def _turns(self, record: Record, column: str) -> tuple[Message, ...]:
        return parse_messages(structured(cell(record, column), str(record.source)), str(record.source), self.left_out)


def chat(sample: Sample) -> Shape | None:
    """A column `messages`, `conversations` or `conversation` whose values are lists of turns, or their JSON text."""
    column = conversation_column(sample)
    if column is None:
        return None
    return Chat(
        name="chat messages",
        prompt_columns=(column,),
        completion_column=column,
        group_column=sample.group_column,
        other_columns=tool_columns(sample),
    )


def chat_pairs(sample: Sample) -> Shape | None:
    """Columns `prompt` and `completion` that both hold turns."""
    prompt, completion = sample.column("prompt"), sample.column("completion")
    if prompt is None or completion is None:
        return None
    if not are_turns(sample.values(prompt), "role") or not are_turns(sample.values(completion), "role"):
        return None
    return ChatPairs(
        name="prompt and completion as chat messages",
        prompt_columns=(prompt,),
        completion_column=completion,
        group_column=sample.group_column,
        other_columns=tool_columns(sample),
    )


def conversation_column(sample: Sample) -> str | None:
    """The column of turns; one of that name that holds plain text is none."""
    column = sample.column(*CONVERSATIONS)
    if column is None or not all(_may_be_turns(value) for value in sample.values(column)):
        return None
    return column


def tool_columns(sample: Sample) -> tuple[str, ...]:
    found = (sample.column("tools"), sample.column("functions"))
    return tuple(column for column in found if column is not None)


def tools_of(record: Record, columns: Sequence[str]) -> str | None:
    """JSON text of the record's tools, from the columns that `tool_columns` gave."""
    found = {column.strip().casefold(): structured(record.values.get(column), str(record.source)) for column in columns}
    return parse_tools(found.get("tools"), found.get("functions"), str(record.source))


def _may_be_turns(value: Any) -> bool:
    return isinstance(value, list | dict) or (isinstance(value, str) and value.lstrip()[:1] in ("[", "{"))
