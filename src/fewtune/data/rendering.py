"""An example as the object that others read: OpenAI's, Alpaca's, ShareGPT's and TRL's shapes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Literal

from fewtune.errors import DataError
from fewtune.types import Example, Message

RowShape = Literal["openai-completion", "openai-chat", "alpaca", "sharegpt", "trl"]

_SPEAKERS = {"user": "human", "assistant": "gpt", "tool": "observation", "function": "observation"}


def rendered(example: Example, shape: RowShape) -> dict[str, Any]:
    """The example in one of the shapes; raises DataError for a conversation that the shape cannot hold."""
    return _RENDERERS[shape](example)


def completion_row(example: Example) -> dict[str, str]:
    """`prompt` and `completion`, and `rejected` where there is one; a conversation as plain text."""
    row = {"prompt": example.prompt, "completion": example.completion}
    return row if example.rejected is None else row | {"rejected": example.rejected}


def chat_row(example: Example) -> dict[str, Any]:
    """`messages`, as OpenAI's fine-tuning reads them; a preference as its `input` and two outputs."""
    turns = [_openai_turn(message) for message in _messages(example)]
    tools = {} if example.tools is None else {"tools": json.loads(example.tools)}
    if example.rejected is None:
        return {"messages": turns} | tools
    return {
        "input": {"messages": turns[:-1]} | tools,
        "preferred_output": [turns[-1]],
        "non_preferred_output": [{"role": "assistant", "content": example.rejected}],
    }


def alpaca_row(example: Example) -> dict[str, Any]:
    """`instruction`, `input`, `output`, with `system` and `history` where there are such turns."""
    _refuse_preferences(example, "Alpaca")
    messages = _messages(example)
    _refuse_calls(example, messages, "Alpaca")
    spoken = [message for message in messages if message.role not in ("system", "developer")]
    if [message.role for message in spoken] != ["user", "assistant"] * (len(spoken) // 2):
        raise _unheld(example, "Alpaca", "user and assistant do not take turns")
    pairs = [(spoken[at].content, spoken[at + 1].content) for at in range(0, len(spoken), 2)]
    system = "\n\n".join(message.content for message in messages if message.role in ("system", "developer"))
    row: dict[str, Any] = {"instruction": pairs[-1][0], "input": "", "output": pairs[-1][1]}
    row |= {"system": system} if system else {}
    return row | ({"history": [list(pair) for pair in pairs[:-1]]} if len(pairs) > 1 else {})


def sharegpt_row(example: Example) -> dict[str, Any]:
    """`conversations` of `from` and `value`."""
    _refuse_preferences(example, "ShareGPT")
    turns: list[dict[str, str]] = []
    for message in _messages(example):
        if message.calls is None:
            turns.append({"from": _SPEAKERS.get(message.role, "system"), "value": message.content})
        else:
            turns.append({"from": "function_call", "value": message.calls})
    return {"conversations": turns} | ({} if example.tools is None else {"tools": example.tools})


def trl_row(example: Example) -> dict[str, Any]:
    """`messages`, or `prompt` with `completion`, or `prompt` with `chosen` and `rejected`, as TRL reads them."""
    if example.messages is None:
        answer = "completion" if example.rejected is None else "chosen"
        row = {"prompt": example.prompt, answer: example.completion}
        return row if example.rejected is None else row | {"rejected": example.rejected}
    turns = [_trl_turn(message) for message in example.messages]
    tools = {} if example.tools is None else {"tools": json.loads(example.tools)}
    if example.rejected is None:
        return {"messages": turns} | tools
    rejected = [{"role": "assistant", "content": example.rejected}]
    return {"prompt": turns[:-1], "chosen": turns[-1:], "rejected": rejected} | tools


_RENDERERS: Mapping[RowShape, Callable[[Example], dict[str, Any]]] = {
    "openai-completion": completion_row,
    "openai-chat": chat_row,
    "alpaca": alpaca_row,
    "sharegpt": sharegpt_row,
    "trl": trl_row,
}
ROW_SHAPES: tuple[RowShape, ...] = tuple(_RENDERERS)


def _messages(example: Example) -> tuple[Message, ...]:
    if example.messages is not None:
        return example.messages
    answer = Message(role="assistant", content=example.completion, trained=True)
    return (Message(role="user", content=example.prompt), answer) if example.prompt else (answer,)


def _openai_turn(message: Message) -> dict[str, Any]:
    turn = _trl_turn(message)
    # OpenAI trains every answer whose weight is not 0, and reads a weight nowhere else.
    return turn if message.role != "assistant" or message.trained else turn | {"weight": 0}


def _trl_turn(message: Message) -> dict[str, Any]:
    turn: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.name is not None:
        turn["name"] = message.name
    if message.calls is not None:
        turn |= {"content": message.content or None, "tool_calls": json.loads(message.calls)}
    if message.call_id is not None:
        turn["tool_call_id"] = message.call_id
    return turn


def _refuse_preferences(example: Example, shape: str) -> None:
    if example.rejected is not None:
        raise _unheld(example, shape, "it is a preference between two answers")


def _refuse_calls(example: Example, messages: tuple[Message, ...], shape: str) -> None:
    if any(message.calls is not None or message.role in ("tool", "function") for message in messages):
        raise _unheld(example, shape, "it calls tools")


def _unheld(example: Example, shape: str, why: str) -> DataError:
    return DataError(
        f"This row cannot be written in {shape}'s shape: {why}.",
        where=str(example.source),
        fix="Choose --format openai-chat, which holds every row.",
    )
