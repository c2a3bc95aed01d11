from __future__ import annotations

from typing import Any

import pytest
from openai import NotFoundError

from service.scripted_service import ScriptedService

ASKED: dict[str, Any] = {"model": "pocket", "messages": [{"role": "user", "content": "a b"}], "store": True}


def test_a_completion_is_kept_where_that_is_asked_for(scripted: ScriptedService) -> None:
    chat = scripted.openai.chat.completions
    told = chat.create(**ASKED, metadata={"topic": "kept"})
    assert chat.retrieve(told.id).model_dump() == told.model_dump()
    assert [one.id for one in chat.list(metadata={"topic": "kept"})] == [told.id]
    # Not the strict client: its type says that every kept turn is the assistant's.
    loose = scripted.openai.copy(_extra_kwargs={"_strict_response_validation": False})
    (message,) = loose.chat.completions.messages.list(told.id)
    assert (message.content, message.role) == ("a b", "user")


def test_a_streamed_completion_is_kept_whole(scripted: ScriptedService) -> None:
    chat = scripted.openai.chat.completions
    chunks = list(chat.create(**ASKED, metadata={"topic": "streamed"}, n=2, stream=True))
    (kept,) = chat.list(metadata={"topic": "streamed"})
    assert kept.id == chunks[0].id
    assert [choice.message.content for choice in kept.choices] == ["a b", "a b"]
    assert kept.usage and kept.usage.completion_tokens == 4


def test_none_is_kept_unasked(scripted: ScriptedService) -> None:
    chat = scripted.openai.chat.completions
    for asked in ({**ASKED, "store": False}, {**ASKED, "store": None}):
        with pytest.raises(NotFoundError):
            chat.retrieve(chat.create(**asked).id)


def test_a_kept_one_is_changed_and_forgotten(scripted: ScriptedService) -> None:
    chat = scripted.openai.chat.completions
    told = chat.create(**ASKED)
    assert chat.update(told.id, metadata={"a": "1"}).metadata == {"a": "1"}
    assert chat.delete(told.id).deleted
    for use in (chat.retrieve, chat.delete, chat.messages.list):
        with pytest.raises(NotFoundError):
            use(told.id)
    with pytest.raises(NotFoundError):
        chat.update(told.id, metadata={})


def test_turns_come_in_pages(scripted: ScriptedService) -> None:
    turns = [{"role": "user", "content": word} for word in "abcde"]
    told = scripted.openai.chat.completions.create(**{**ASKED, "messages": turns})
    loose = scripted.openai.copy(_extra_kwargs={"_strict_response_validation": False})
    listed = loose.chat.completions.messages.list
    assert [message.content for message in listed(told.id, limit=2)] == list("abcde")
    assert [message.content for message in listed(told.id, limit=2, order="desc")] == list("edcba")
