"""Conversations in the words of OpenAI's chat API and of its files for fine-tuning."""

from __future__ import annotations

import json
from typing import Any

from fewtune.data.chat import turns_of, with_worked
from fewtune.providers.contract import Request
from fewtune.types import Example, Message


def chat_row(example: Example) -> dict[str, Any]:
    """One row of a file to train on; an assistant's turn that is not trained has the weight 0."""
    turns = turns_of(example)
    weighted = any(one.role == "assistant" and not one.trained for one in turns)
    row: dict[str, Any] = {"messages": [_message(one, weighted=weighted) for one in turns]}
    return {**row, "tools": chat_tools(example.tools)} if example.tools is not None else row


def chat_messages(request: Request) -> list[dict[str, Any]]:
    """Worked examples, then what is to be answered."""
    asked = request.messages or (Message(role="user", content=request.prompt),)
    return [_message(turn) for turn in with_worked(asked, request.shots)]


def chat_tools(text: str | None) -> list[Any]:
    return [] if text is None else json.loads(text)


def _message(turn: Message, *, weighted: bool = False) -> dict[str, Any]:
    found: dict[str, Any] = {"role": turn.role, "content": turn.content}
    if turn.name is not None:
        found["name"] = turn.name
    if turn.calls is not None:
        found["tool_calls"] = json.loads(turn.calls)
        found["content"] = turn.content or None
    if turn.call_id is not None:
        found["tool_call_id"] = turn.call_id
    if weighted and turn.role == "assistant":
        found["weight"] = int(turn.trained)
    return found
