from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewtune.data.conversation import KEYS, ROLES, parse_messages, parse_tools, plain
from fewtune.errors import DataError
from fewtune.types import Message


def parsed(turns: Any) -> tuple[Message, ...]:
    return parse_messages(turns, "chat.jsonl:7", Counter())


def turn(role: str, content: Any = "x", **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def test_every_role_is_read_and_only_the_assistant_is_trained() -> None:
    messages = parsed([turn(role) for role in ROLES])
    assert [message.role for message in messages] == list(ROLES)
    assert [message.trained for message in messages] == [role == "assistant" for role in ROLES]


def test_a_turn_of_weight_0_is_not_trained_and_text_is_never_trimmed() -> None:
    messages = parsed([turn("user", " a\n"), turn("assistant", " b ", weight=0), turn("assistant", " c ", weight=1)])
    assert [message.trained for message in messages] == [False, False, True]
    assert [message.content for message in messages] == [" a\n", " b ", " c "]


def test_parts_of_text_are_joined_and_a_refusal_stands_for_the_content() -> None:
    parts = [{"type": "text", "text": "a "}, "b", {"type": "refusal", "refusal": "!"}]
    assert parsed([turn("user", parts)])[0].content == "a b!"
    assert parsed([turn("assistant", None, refusal="I may not.")])[0].content == "I may not."


def test_an_old_function_call_becomes_a_tool_call() -> None:
    old = parsed([turn("assistant", None, function_call={"name": "f", "arguments": '{"a": 1}'})])
    new = parsed([turn("assistant", None, tool_calls=[{"function": {"name": "f", "arguments": {"a": 1}}}])])
    assert old == new
    assert json.loads(old[0].calls or "") == [{"type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}]


def test_a_tool_answers_a_call_that_was_made() -> None:
    call = turn("assistant", None, tool_calls=[{"id": "c1", "type": "function", "function": {"name": "f"}}])
    assert parsed([call, turn("tool", tool_call_id="c1")])[1].call_id == "c1"
    with pytest.raises(DataError, match="answers the call 'c2', which nobody made"):
        parsed([call, turn("tool", tool_call_id="c2")])


def test_keys_without_a_value_are_not_there() -> None:
    assert parsed([{**dict.fromkeys((*KEYS, "audio", "annotations")), "role": "user", "content": "a"}]) == (
        Message(role="user", content="a"),
    )


def test_unknown_keys_are_left_out_and_counted() -> None:
    left_out: Counter[str] = Counter()
    messages = parse_messages([turn("user", id=1), turn("assistant", id=2, mood="calm")], "a:1", left_out)
    assert messages == parsed([turn("user"), turn("assistant")])
    assert left_out == {"the key 'id' of turns": 2, "the key 'mood' of turns": 1}


@pytest.mark.parametrize(
    ("turns", "message"),
    [
        (None, "has no turns"),
        ([], "has no turns"),
        ("Hello", "not a list of turns"),
        ({"role": "user"}, "not a list of turns"),
        (["Hello"], "Turn 1 of the conversation is not an object"),
        ([turn("user"), {"content": "a"}], "Turn 2 of the conversation has no role"),
        ([turn("human")], "unknown role 'human'. Did you mean 'user'"),
        ([turn("asistant")], "unknown role 'asistant'. Did you mean 'assistant'"),
        ([turn("user", None)], "has no content"),
        ([{"role": "assistant"}], "has no content"),
        ([turn("user", 5)], "a content that is not text"),
        ([turn("user", [{"type": "image_url", "image_url": {"url": "x"}}])], "a part of the kind 'image_url'"),
        ([turn("user", [{"type": "text"}])], "a part without its text"),
        ([turn("user", [5])], "neither text nor an object"),
        ([turn("assistant", None, audio={"id": "a"})], "is spoken"),
        ([turn("user", weight=1)], "has a weight, but the role 'user'"),
        ([turn("assistant", weight=0.5)], "has the weight 0.5"),
        ([turn("assistant", weight=True)], "has the weight True"),
        ([turn("user", weigth=1)], "unknown key 'weigth'. Did you mean 'weight'"),
        ([turn("user", name=5)], "a name that is not text"),
        ([turn("user", tool_calls=[{"function": {"name": "f"}}])], "calls tools, but has the role 'user'"),
        ([turn("assistant", tool_calls="f")], "tool_calls that are not a list"),
        ([turn("assistant", tool_calls=[{"id": "a"}])], "calls a tool without a name"),
        (
            [turn("assistant", tool_calls=[{"function": {"name": "f", "arguments": [1]}}])],
            "arguments that are not text",
        ),
        ([turn("assistant", tool_calls=[{"function": {"name": "f"}}], function_call={"name": "f"})], "has both"),
    ],
)
def test_what_is_no_conversation_is_told_with_its_row_its_turn_and_a_remedy(turns: Any, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        parsed(turns)
    assert caught.value.where == "chat.jsonl:7"
    assert caught.value.fix


def test_functions_become_tools() -> None:
    function = {"name": "f", "parameters": {}}
    tools = [{"type": "function", "function": function}]
    assert parse_tools(None, [function], "a:1") == parse_tools(tools, None, "a:1") == json.dumps(tools)
    assert parse_tools(None, None, "a:1") is None
    with pytest.raises(DataError, match="not a list"):
        parse_tools({"name": "f"}, None, "a:1")


@pytest.mark.parametrize(
    ("turns", "expected"),
    [
        ([turn("user", "q"), turn("assistant", "a")], ("q", "a")),
        ([turn("system", "s"), turn("user", "q"), turn("assistant", "a")], ("s\n\nq", "a")),
        ([turn("developer", "s"), turn("user", "q"), turn("assistant", "a")], ("s\n\nq", "a")),
        ([turn("system", "s"), turn("assistant", "a")], ("s", "a")),
        ([turn("assistant", "a")], ("", "a")),
        ([turn("user", "q"), turn("assistant", "a"), turn("user", "r")], ("q", "a")),
        (
            [turn("user", "q"), turn("assistant", "a"), turn("user", "r"), turn("assistant", "b")],
            ("User: q\nAssistant: a\nUser: r", "b"),
        ),
        ([turn("user", "q"), turn("assistant", "a", weight=0)], ("User: q\nAssistant: a", "")),
        ([turn("user", "q")], ("q", "")),
    ],
)
def test_a_conversation_as_plain_text(turns: list[dict[str, Any]], expected: tuple[str, str]) -> None:
    assert plain(parsed(turns)) == expected


def test_a_call_is_the_completion_where_nothing_else_is_said() -> None:
    messages = parsed([turn("user", "q"), turn("assistant", None, function_call={"name": "f", "arguments": "{}"})])
    prompt, completion = plain(messages)
    assert (prompt, json.loads(completion)[0]["function"]["name"]) == ("q", "f")


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(ROLES),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*KEYS, "type", "text", "function", "arguments", "id"]) | st.text(max_size=3), inner
        )
    ),
    max_leaves=12,
)
TURNS = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(ROLES), "content": st.text(max_size=5) | ANY},
        optional={key: ANY for key in KEYS if key not in ("role", "content")},
    )
    | ANY,
    max_size=4,
)


def check_any_turns(turns: Any) -> None:
    try:
        messages = parsed(turns)
    except DataError as error:
        assert error.where and error.fix
    else:
        prompt, completion = plain(messages)
        assert isinstance(prompt, str) and isinstance(completion, str)


@settings(deadline=None, max_examples=200)
@given(turns=TURNS | ANY)
def test_any_turns_give_messages_or_an_error_of_ours(turns: Any) -> None:
    check_any_turns(turns)


@pytest.mark.slow
@settings(deadline=None, max_examples=2000)
@given(turns=TURNS | ANY)
def test_any_turns_give_messages_or_an_error_of_ours_in_full(turns: Any) -> None:
    check_any_turns(turns)
