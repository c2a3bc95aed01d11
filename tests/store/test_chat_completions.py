from __future__ import annotations

import pytest
from sqlalchemy import Engine

from fewtune.store import chat_completions as module
from fewtune.store.chat_completions import KEPT_SECONDS, ChatCompletionRecord, ChatCompletions
from standin.clock import Clock

NOW = int(Clock().now)


def record(id: str, project: str = "mine", at: int = NOW, **metadata: str) -> ChatCompletionRecord:
    return ChatCompletionRecord(
        id=id,
        project=project,
        created_at=at,
        model="pocket",
        metadata=metadata,
        messages=[{"role": "user", "content": "Hello\x00 \ud83d"}],
        answer={"choices": []},
    )


@pytest.fixture
def completions(engine: Engine, clock: Clock) -> ChatCompletions:
    return ChatCompletions(engine, clock=clock)


def listed(completions: ChatCompletions, **wanted: object) -> list[str]:
    return [one.id for one in completions.list("mine", **wanted).items]  # type: ignore[arg-type]


def test_what_is_kept_comes_back_as_it_was(completions: ChatCompletions) -> None:
    kept = record("one", topic="parcels")
    completions.add(kept)
    assert completions.get("mine", "one") == kept


def test_another_project_sees_none_of_it(completions: ChatCompletions) -> None:
    completions.add(record("one"))
    assert completions.get("theirs", "one") is None
    assert completions.list("theirs").items == []
    assert completions.change_metadata("theirs", "one", {}) is None
    assert not completions.delete("theirs", "one")
    assert completions.get("mine", "one")


def test_a_list_is_asked_for_by_metadata_and_model(completions: ChatCompletions) -> None:
    for name, metadata in (("one", {"a": "1"}), ("two", {"a": "2"}), ("three", {"a": "1", "b": "1"})):
        completions.add(record(name, **metadata))
    assert listed(completions) == ["one", "two", "three"]
    assert listed(completions, metadata={"a": "1"}) == ["one", "three"]
    assert listed(completions, metadata={"a": "1", "b": "1"}, order="desc") == ["three"]
    assert listed(completions, model="other") == []
    assert listed(completions, after="one", limit=1) == ["two"]


def test_new_metadata_takes_the_place_of_the_old(completions: ChatCompletions) -> None:
    completions.add(record("one", a="1"))
    changed = completions.change_metadata("mine", "one", {"b": "2"})
    assert changed and changed.metadata == {"b": "2"}
    assert listed(completions, metadata={"a": "1"}) == []
    assert listed(completions, metadata={"b": "2"}) == ["one"]
    assert completions.change_metadata("mine", "none", {}) is None


def test_what_is_deleted_is_gone_with_its_metadata(completions: ChatCompletions) -> None:
    completions.add(record("one", a="1"))
    assert completions.delete("mine", "one")
    assert not completions.delete("mine", "one")
    assert listed(completions, metadata={"a": "1"}) == []


def test_nothing_is_kept_for_more_than_thirty_days(completions: ChatCompletions, clock: Clock) -> None:
    completions.add(record("one", a="1"))
    clock.now += KEPT_SECONDS
    assert completions.get("mine", "one") is None and listed(completions) == []
    completions.add(record("two", at=int(clock.now)))
    clock.now -= KEPT_SECONDS
    assert listed(completions) == ["two"]


def test_the_oldest_make_room(completions: ChatCompletions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_KEPT", 2)
    completions.add(record("theirs", project="theirs"))
    for name in ("one", "two", "three"):
        completions.add(record(name, a="1"))
    assert listed(completions, metadata={"a": "1"}) == ["two", "three"]
    assert completions.get("theirs", "theirs")
