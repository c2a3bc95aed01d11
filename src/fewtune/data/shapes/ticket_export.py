"""Tickets of a help desk with what was said about them: the customer asks, the agent answers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from fewtune.data.records import Record
from fewtune.data.shapes.cells import cell, text
from fewtune.data.shapes.shape import Sample, Shape
from fewtune.types import Example, Message

_NOTE = "Each ticket is a conversation: the customer's messages are the user's turns, the agents' are learnt."


@dataclass(frozen=True, kw_only=True)
class TicketExport(Shape):
    def example(self, record: Record, row: int) -> Example | None:
        messages = list(self._turns(record))
        while messages and messages[-1].role == "user":
            messages.pop()
            self.left_out["last messages without an answer"] += 1
        if not messages:
            self.left_out["tickets without an answer"] += 1
            return None
        return self.conversation(record, row, tuple(messages))

    def _turns(self, record: Record) -> Iterator[Message]:
        """What was said in public; an agent's word before the customer's first answers nothing."""
        asked = False
        for by_customer, said in self._said(record):
            if not said.strip():
                self.left_out["messages without text"] += 1
            elif by_customer or asked:
                asked = True
                yield _turn(by_customer, said)
            else:
                self.left_out["messages of agents before the customer's first"] += 1

    @abstractmethod
    def _said(self, record: Record) -> Iterator[tuple[bool, str]]:
        """Whether the customer speaks, and what is said, one after another."""


@dataclass(frozen=True, kw_only=True)
class ZendeskExport(TicketExport):
    def _said(self, record: Record) -> Iterator[tuple[bool, str]]:
        requester = cell(record, "requester_id")
        comments = _objects(cell(record, "comments"))
        description = text(record.values.get("description"), record.source)
        if description and not (comments and _body(comments[0], record) == description):
            yield True, description
        for comment in comments:
            if comment.get("public") is False:
                self.left_out["internal notes"] += 1
            else:
                yield comment.get("author_id") == requester, _body(comment, record)


@dataclass(frozen=True, kw_only=True)
class IntercomExport(TicketExport):
    def _said(self, record: Record) -> Iterator[tuple[bool, str]]:
        parts = cell(record, "conversation_parts")
        if isinstance(parts, dict):
            parts = cast(dict[str, Any], parts).get("conversation_parts")
        for part in _objects([record.values.get("source")]) + _objects(parts):
            author = _objects([part.get("author")])
            kind = author[0].get("type") if author else None
            if part.get("part_type", "comment") != "comment":
                self.left_out["notes and assignments"] += 1
            elif kind not in ("user", "lead", "contact", "admin"):
                self.left_out["messages of bots"] += 1
            else:
                yield kind != "admin", _body(part, record)


def zendesk_export(sample: Sample) -> Shape | None:
    """Columns `requester_id` and `comments`, a list of objects."""
    if not {"requester_id", "comments"} <= set(sample.columns) or not _are_lists(sample, "comments"):
        return None
    return ZendeskExport(
        name="Zendesk export",
        prompt_columns=tuple(name for name in ("description", "comments") if name in sample.columns),
        completion_column="comments",
        group_column=sample.group_column,
        other_columns=("requester_id",),
        decided=(_NOTE,),
    )


def intercom_export(sample: Sample) -> Shape | None:
    """A column `conversation_parts`, a list of objects or an object that holds it."""
    if "conversation_parts" not in sample.columns or not _are_lists(sample, "conversation_parts"):
        return None
    return IntercomExport(
        name="Intercom export",
        prompt_columns=tuple(name for name in ("source", "conversation_parts") if name in sample.columns),
        completion_column="conversation_parts",
        group_column=sample.group_column,
        decided=(_NOTE,),
    )


def _turn(by_customer: bool, said: str) -> Message:
    return Message(role="user", content=said) if by_customer else Message(role="assistant", content=said, trained=True)


def _body(part: dict[str, Any], record: Record) -> str:
    """As plain text where the program offers it, otherwise as it stands, perhaps HTML."""
    return text(part.get("plain_body") or part.get("body"), record.source)


def _are_lists(sample: Sample, column: str) -> bool:
    return all(isinstance(value, list | dict) for value in sample.values(column))


def _objects(value: object) -> list[dict[str, Any]]:
    found = cast(list[object], value) if isinstance(value, list) else []
    return [cast(dict[str, Any], one) for one in found if isinstance(one, dict)]
