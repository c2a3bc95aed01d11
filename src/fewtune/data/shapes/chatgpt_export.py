"""`conversations.json` of a ChatGPT data export: each conversation is a tree, whose current branch is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from fewtune.data.records import Record
from fewtune.data.shapes.cells import cell
from fewtune.data.shapes.shape import Sample, Shape
from fewtune.errors import DataError
from fewtune.types import Example, Message

_Node = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class ChatGPTExport(Shape):
    def example(self, record: Record, row: int) -> Example | None:
        turns = [turn for node in _branch(record) if (turn := self._turn(node)) is not None]
        while turns and turns[-1][0] == "user":
            turns.pop()
            self.left_out["last questions without an answer"] += 1
        if not turns:
            self.left_out["conversations without an answer"] += 1
            return None
        if any(text is None for _, text in turns):
            self.left_out["conversations with pictures or files"] += 1
            return None
        return self.conversation(record, row, _messages([(role, text or "") for role, text in turns]))

    def _turn(self, node: _Node) -> tuple[str, str | None] | None:
        """Who speaks and what is said, None where that is not text; None for all that nobody sees as a turn."""
        message = _object(node.get("message"))
        if not message:
            return None
        role = str(_object(message.get("author")).get("role"))
        content = _object(message.get("content"))
        hidden = _object(message.get("metadata")).get("is_visually_hidden_from_conversation")
        spoken = content.get("content_type") in ("text", "multimodal_text")
        if hidden or role not in ("user", "assistant") or not spoken or message.get("recipient", "all") != "all":
            self.left_out["turns of the system, of tools, and hidden ones"] += 1
            return None
        text = _text(content.get("parts"))
        return None if text == "" else (role, text)


def chatgpt_export(sample: Sample) -> Shape | None:
    """A column `mapping` whose values are trees of nodes."""
    column = sample.column("mapping")
    if column is None or not all(isinstance(value, dict) for value in sample.values(column)):
        return None
    return ChatGPTExport(
        name="ChatGPT export",
        prompt_columns=(column,),
        completion_column=column,
        group_column=sample.group_column,
        other_columns=tuple(name for name in ("current_node",) if name in sample.columns),
        decided=("Of each conversation the current branch is read; turns that were written again are not.",),
    )


def _branch(record: Record) -> list[_Node]:
    """From the root to the current node."""
    nodes = _object(cell(record, "mapping"))
    name = record.values.get("current_node")
    branch: dict[str, _Node] = {}
    if name is None and nodes:
        name = [*nodes][-1]
    while isinstance(name, str) and name in nodes and name not in branch:
        branch[name] = _object(nodes[name])
        name = branch[name].get("parent")
    if name is not None:
        what = "The conversation's tree leads in a circle, or to a node that is not there."
        raise DataError(what, where=str(record.source), fix="Take the file from the export again, or remove the row.")
    return [*reversed(branch.values())]


def _text(parts: object) -> str | None:
    """None where a part is no text."""
    found = cast(list[object], parts) if isinstance(parts, list) else []
    texts = [part for part in found if isinstance(part, str)]
    return "\n".join(texts) if len(texts) == len(found) else None


def _messages(turns: list[tuple[str, str]]) -> tuple[Message, ...]:
    return tuple(
        Message(role="assistant", content=text, trained=True)
        if role == "assistant"
        else Message(role="user", content=text)
        for role, text in _merged(turns)
    )


def _merged(turns: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """One turn where the same side speaks several times, as it does around the use of a tool."""
    speaker, texts = turns[0][0], list[str]()
    for role, text in turns:
        if role != speaker:
            yield speaker, "\n\n".join(texts)
            speaker, texts = role, []
        texts.append(text)
    yield speaker, "\n\n".join(texts)


def _object(value: object) -> _Node:
    return cast(_Node, value) if isinstance(value, dict) else {}
