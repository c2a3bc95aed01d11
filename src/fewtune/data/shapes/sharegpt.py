"""Conversations as ShareGPT and its many descendants write them: `from` and `value`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from fewtune.data.columns import listed
from fewtune.data.conversation import parse_messages
from fewtune.data.records import Record
from fewtune.data.shapes.cells import are_turns, cell, structured, text
from fewtune.data.shapes.chat import conversation_column, tool_columns, tools_of
from fewtune.data.shapes.shape import Sample, Shape
from fewtune.errors import DataError
from fewtune.types import Example

ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "system": "system",
    "tool": "tool",
    "observation": "tool",
    "function_response": "tool",
    "function_call": "assistant",
}
"""Who speaks, and the role that is meant."""


@dataclass(frozen=True, kw_only=True)
class ShareGPT(Shape):
    system_column: str | None

    def example(self, record: Record, row: int) -> Example:
        value = structured(cell(record, self.completion_column), str(record.source))
        where = str(record.source)
        turns = [_as_openai(turn, where) for turn in cast(list[object], value)] if isinstance(value, list) else value
        messages = parse_messages(turns, where, self.left_out)
        system = "" if self.system_column is None else text(record.values.get(self.system_column), record.source)
        if system:
            messages = (*parse_messages([{"role": "system", "content": system}], where, self.left_out), *messages)
        return self.conversation(record, row, messages, tools_of(record, self.other_columns))


def sharegpt(sample: Sample) -> Shape | None:
    """A column of conversations whose turns have `from` and `value`."""
    column = conversation_column(sample)
    if column is None:
        return None
    told = ((record.values.get(column), str(record.source)) for record in sample.records)
    first = next((structured(value, where) for value, where in told if value), None)
    if not are_turns([first], "from"):
        return None
    return ShareGPT(
        name="ShareGPT",
        prompt_columns=(column,),
        completion_column=column,
        group_column=sample.group_column,
        other_columns=tool_columns(sample),
        system_column=sample.column("system"),
    )


def _as_openai(turn: object, where: str) -> object:
    """The turn with OpenAI's names; what it holds is validated as all turns are."""
    if not isinstance(turn, dict):
        return turn
    written = dict(cast(dict[str, Any], turn))
    speaker, value = written.pop("from", None), written.pop("value", None)
    role = ROLES.get(speaker.casefold()) if isinstance(speaker, str) else None
    if role is None:
        what = "A turn does not say whom it is from." if speaker is None else f"A turn is from {str(speaker)[:40]!r}."
        raise DataError(what, where=where, fix=f"Write one of {listed(ROLES)} in 'from'.")
    if cast(str, speaker).casefold() == "function_call":
        return {"role": role, "tool_calls": _calls(value, where), **written}
    return {"role": role, "content": value, **written}


def _calls(value: object, where: str) -> list[dict[str, Any]]:
    """The value is the JSON text of one call or a list of them, each with `name` and `arguments`."""
    calls = structured(value, where)
    return [{"function": call} for call in (cast(list[object], calls) if isinstance(calls, list) else [calls])]
