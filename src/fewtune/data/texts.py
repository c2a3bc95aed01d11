"""All that a row says, wherever it stands in it, and the same row saying something else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from fewtune.data.conversation import plain
from fewtune.types import Example, Message


def texts(example: Example) -> tuple[str, ...]:
    """Prompt and answer (and the worse answer, if there is one); of a conversation what each turn says."""
    if example.messages is not None:
        return tuple(message.content for message in example.messages)
    if example.rejected is not None:
        return example.prompt, example.completion, example.rejected
    return example.prompt, example.completion


def everything(example: Example) -> tuple[str, ...]:
    """The texts, and the JSON of tools and calls."""
    if example.messages is None and example.tools is None:
        return texts(example)
    calls = [message.calls for message in example.messages or () if message.calls]
    return (*texts(example), *calls, *([example.tools] if example.tools else []))


def with_texts(example: Example, change: Callable[[str], str]) -> Example:
    """The row with each of its texts changed; the prompt and answer of a conversation follow its turns."""
    if example.messages is not None:
        return with_messages(example, tuple(replace(one, content=change(one.content)) for one in example.messages))
    rejected = None if example.rejected is None else change(example.rejected)
    return replace(example, prompt=change(example.prompt), completion=change(example.completion), rejected=rejected)


def with_completion(example: Example, completion: str) -> Example:
    """The row with another answer; in a conversation it is what the last trained turn says."""
    if example.messages is None:
        return replace(example, completion=completion)
    turns = list(example.messages)
    last = max(place for place, turn in enumerate(turns) if turn.trained)
    turns[last] = replace(turns[last], content=completion)
    return with_messages(example, tuple(turns))


def with_everything(example: Example, change: Callable[[str], str]) -> Example:
    """As `with_texts`, and in the JSON of tools and calls too; the change has to leave JSON valid."""
    tools = example.tools and change(example.tools)
    turns = tuple(replace(one, calls=one.calls and change(one.calls)) for one in example.messages or ())
    changed = replace(example, tools=tools, messages=turns if example.messages is not None else None)
    return with_texts(changed, change)


def with_messages(example: Example, messages: tuple[Message, ...]) -> Example:
    prompt, completion = plain(messages)
    return replace(example, messages=messages, prompt=prompt, completion=completion)
