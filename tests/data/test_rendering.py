from __future__ import annotations

import json

import pytest

from fewtune.data.rendering import ROW_SHAPES, rendered
from fewtune.errors import DataError
from fewtune.types import Example, Message, Source

SOURCE = Source(file="rows.jsonl", line=3)
PAIR = Example(row=0, prompt="What is green?", completion="Grass.", source=SOURCE)
CHAT = Example(
    row=1,
    prompt="User: Hello\nAssistant: Good day.\nUser: And?\nAssistant:",
    completion="All well.",
    source=SOURCE,
    messages=(
        Message(role="system", content="Be brief."),
        Message(role="user", content="Hello"),
        Message(role="assistant", content="Good day."),
        Message(role="user", content="And?"),
        Message(role="assistant", content="All well.", trained=True),
    ),
)
CALLS = json.dumps([{"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}])
TOOLS = json.dumps([{"type": "function", "function": {"name": "look"}}])
CALLING = Example(
    row=2,
    prompt="Look",
    completion="A tree.",
    source=SOURCE,
    tools=TOOLS,
    messages=(
        Message(role="user", content="Look"),
        Message(role="assistant", content="", calls=CALLS),
        Message(role="tool", content="tree", call_id="c1"),
        Message(role="assistant", content="A tree.", trained=True),
    ),
)
PREFERENCE = Example(row=3, prompt="Say hello", completion="Hello!", rejected="No.", source=SOURCE)


def test_a_pair_in_every_shape() -> None:
    assert {shape: rendered(PAIR, shape) for shape in ROW_SHAPES} == {
        "openai-completion": {"prompt": "What is green?", "completion": "Grass."},
        "openai-chat": {
            "messages": [{"role": "user", "content": "What is green?"}, {"role": "assistant", "content": "Grass."}]
        },
        "alpaca": {"instruction": "What is green?", "input": "", "output": "Grass."},
        "sharegpt": {
            "conversations": [{"from": "human", "value": "What is green?"}, {"from": "gpt", "value": "Grass."}]
        },
        "trl": {"prompt": "What is green?", "completion": "Grass."},
    }


def test_an_answer_that_is_not_trained_has_weight_zero_for_openai_alone() -> None:
    answers = [turn for turn in rendered(CHAT, "openai-chat")["messages"] if turn["role"] == "assistant"]
    assert [turn.get("weight") for turn in answers] == [0, None]
    assert all("weight" not in turn for turn in rendered(CHAT, "trl")["messages"])


def test_earlier_turns_become_alpacas_history() -> None:
    assert rendered(CHAT, "alpaca") == {
        "instruction": "And?",
        "input": "",
        "output": "All well.",
        "system": "Be brief.",
        "history": [["Hello", "Good day."]],
    }


def test_tool_calls_keep_their_ids_and_tools() -> None:
    row = rendered(CALLING, "openai-chat")
    assert row["tools"] == json.loads(TOOLS)
    assert row["messages"][1] == {"role": "assistant", "content": None, "tool_calls": json.loads(CALLS), "weight": 0}
    assert row["messages"][2] == {"role": "tool", "content": "tree", "tool_call_id": "c1"}
    assert rendered(CALLING, "sharegpt")["conversations"][1] == {"from": "function_call", "value": CALLS}


def test_preferences_in_the_shapes_that_have_them() -> None:
    assert rendered(PREFERENCE, "trl") == {"prompt": "Say hello", "chosen": "Hello!", "rejected": "No."}
    assert rendered(PREFERENCE, "openai-chat") == {
        "input": {"messages": [{"role": "user", "content": "Say hello"}]},
        "preferred_output": [{"role": "assistant", "content": "Hello!"}],
        "non_preferred_output": [{"role": "assistant", "content": "No."}],
    }


@pytest.mark.parametrize(("example", "shape"), [(CALLING, "alpaca"), (PREFERENCE, "alpaca"), (PREFERENCE, "sharegpt")])
def test_what_a_shape_cannot_hold_is_refused_with_its_place(example: Example, shape: str) -> None:
    with pytest.raises(DataError, match=r"rows\.jsonl:3: This row cannot be written"):
        rendered(example, shape)  # pyright: ignore[reportArgumentType]
