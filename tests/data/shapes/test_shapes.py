from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewtune.data.records import Number
from fewtune.data.shapes.shape import Shape
from fewtune.errors import DataError, FewtuneError, UsageError
from fewtune.types import Example

Read = Callable[..., tuple[Shape, tuple[Example, ...]]]


def pairs(examples: Sequence[Example]) -> list[tuple[str, str]]:
    return [(example.prompt, example.completion) for example in examples]


def turn(role: str, content: str | None, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def test_pairs_keep_their_text_and_other_values_become_text(read_rows: Read) -> None:
    shape, examples = read_rows(
        [
            {"prompt": " a ", "completion": None, "id": 1},
            {"prompt": True, "completion": Number("1.50"), "id": 2},
            {"prompt": ["é", 1], "completion": {"a": float("nan")}, "id": 3},
            {"prompt": float("nan"), "completion": 7},
        ]
    )
    assert (shape.name, shape.used_columns) == ("prompt and completion", ("prompt", "completion"))
    assert pairs(examples) == [(" a ", ""), ("true", "1.50"), ('["é", 1]', '{"a": NaN}'), ("", "7")]
    assert [(example.row, example.source.line) for example in examples] == [(0, 2), (1, 3), (2, 4), (3, 5)]


def test_rows_of_a_second_file_are_numbered_on(read_rows: Read) -> None:
    shape, _ = read_rows([{"prompt": "a", "completion": "b"}])
    assert [example.row for example in shape.examples([], 3)] == []
    shape, _ = read_rows([{"messages": [turn("assistant", "b")]}])
    assert shape.notes == ()


def test_a_row_without_the_column_is_named(read_rows: Read) -> None:
    for options in ({}, {"prompt_template": "{prompt}"}):
        with pytest.raises(DataError, match="no 'completion'; it has 'prompt'") as caught:
            read_rows([{"prompt": "a", "completion": "b"}, {"prompt": "c"}], **options)
        assert caught.value.where == "rows:3"


def test_the_group_column_fills_the_group_and_an_empty_cell_is_none(read_rows: Read) -> None:
    rows = [{"text": "a", "label": "b", "Author": "Ann"}, {"text": "c", "label": "d", "Author": ""}]
    shape, examples = read_rows(rows, group="author")
    assert (shape.name, shape.group_column) == ("text and label", "Author")
    assert [example.group for example in examples] == ["Ann", None]
    chats = [{"messages": [turn("user", "a"), turn("assistant", "b")], "by": 4}]
    assert [example.group for example in read_rows(chats, group="by")[1]] == ["4"]
    with pytest.raises(DataError, match="Did you mean 'Author'"):
        read_rows(rows, group="autor")


def test_a_template_makes_one_prompt_of_several_columns(read_rows: Read) -> None:
    rows = [{"title": "Dune", "Year ": Number("1984.0"), "review": "Long."}]
    template = r"{title} ({ year }) {{x}}\n{title}"
    shape, examples = read_rows(rows, prompt_template=template, completion="review")
    assert pairs(examples) == [("Dune (1984.0) {x}\nDune", "Long.")]
    assert shape.used_columns == ("title", "Year ", "review")


def test_a_template_never_fills_in_what_a_cell_says(read_rows: Read) -> None:
    _, examples = read_rows([{"a": "{b}{{", "b": "x", "answer": "y"}], prompt_template="{a}{b}")
    assert pairs(examples) == [("{b}{{x", "y")]


def test_an_empty_template_is_no_prompt(read_rows: Read) -> None:
    shape, examples = read_rows([{"text": "a", "id": "1"}], prompt_template="", completion="text")
    assert (shape.name, pairs(examples)) == ("completions only", [("", "a")])


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{titel}", "no single column 'titel'.*Did you mean 'title'"),
        ("{title.upper}", "no single column"),
        ("{title[0]}", "no single column"),
        ("{title!r:>9}", "no single column"),
        ("{title", "'{' at character 1 of the template has no other"),
        ("title}", "'}' at character 6 of the template has no other"),
        ("a{}", "'{}' at character 2 of the template is empty"),
        ("title", "names no column"),
        ("{answer}", "cannot be both"),
    ],
)
def test_a_template_is_parsed_strictly(read_rows: Read, template: str, message: str) -> None:
    with pytest.raises(FewtuneError, match=message) as caught:
        read_rows([{"title": "a", "answer": "b"}], prompt_template=template, completion="answer")
    assert caught.value.fix


def test_a_template_and_a_prompt_column_contradict_each_other(read_rows: Read) -> None:
    with pytest.raises(UsageError, match="both say"):
        read_rows([{"a": "a", "answer": "b"}], prompt_template="{a}", prompt="a")


def test_columns_that_come_near_are_proposed_and_not_chosen(read_rows: Read) -> None:
    with pytest.raises(
        DataError, match=r"Did you mean --prompt-column 'The question' --completion-column reply_text\?"
    ):
        read_rows([{"The question": "a", "reply_text": "b", "id": "c"}])


def test_named_columns_win_over_every_shape(read_rows: Read) -> None:
    rows = [{"messages": [turn("assistant", "a")], "theme": "b", "answer": "c"}]
    shape, examples = read_rows(rows, prompt="theme")
    assert (shape.name, pairs(examples)) == ("prompt and completion", [("b", "c")])


def test_chat_rows_keep_their_turns_and_tools(read_rows: Read) -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    turns = [turn("system", "s"), turn("user", "q", id=3), turn("assistant", "a")]
    shape, examples = read_rows([{"messages": turns, "tools": tools}, {"messages": json.dumps(turns)}])
    assert pairs(examples) == [("s\n\nq", "a")] * 2
    assert examples[0].messages == examples[1].messages
    assert [message.trained for message in examples[0].messages or ()] == [False, False, True]
    assert [example.tools for example in examples] == [json.dumps(tools), None]
    assert shape.used_columns == ("messages", "tools")
    assert shape.notes == ("Left out: the key 'id' of turns (2).",)


def test_a_chat_without_a_trained_turn_is_a_row_without_an_answer(read_rows: Read) -> None:
    _, examples = read_rows([{"messages": [turn("user", "q")]}])
    assert pairs(examples) == [("q", "")]


def test_a_column_of_that_name_with_plain_text_holds_no_chats(read_rows: Read) -> None:
    shape, _ = read_rows([{"messages": "hello", "label": "spam", "text": "x"}])
    assert shape.name == "text and label"


@pytest.mark.parametrize("cell", ['[{"role": ', "[" * 100_000, '["\\ud800"]', f"[{'9' * 5000}]", "[{'role': 'user'}]"])
def test_a_cell_that_is_no_json_is_told_with_its_line(read_rows: Read, cell: str) -> None:
    with pytest.raises(DataError, match="should hold JSON") as caught:
        read_rows([{"messages": cell}])
    assert caught.value.where == "rows:2"


def test_prompt_and_completion_may_be_turns(read_rows: Read) -> None:
    given = [turn("user", "a"), turn("assistant", "b"), turn("user", "c")]
    _, examples = read_rows([{"prompt": given, "completion": [turn("assistant", "d")]}])
    assert pairs(examples) == [("User: a\nAssistant: b\nUser: c", "d")]
    assert [message.trained for message in examples[0].messages or ()] == [False, False, False, True]


def test_sharegpt_has_its_own_roles(read_rows: Read) -> None:
    call = {"name": "find", "arguments": {"what": "key"}}
    turns = [
        {"from": "human", "value": "Where is the key?"},
        {"from": "function_call", "value": json.dumps(call)},
        {"from": "observation", "value": "shelf"},
        {"from": "gpt", "value": "On the shelf."},
    ]
    shape, examples = read_rows([{"conversations": turns, "system": "Be brief.", "tools": "[]"}])
    messages = examples[0].messages or ()
    assert shape.name == "ShareGPT"
    assert [message.role for message in messages] == ["system", "user", "assistant", "tool", "assistant"]
    assert json.loads(messages[2].calls or "")[0]["function"]["arguments"] == json.dumps(call["arguments"])
    assert examples[0].completion == "On the shelf."
    with pytest.raises(DataError, match="from 'parrot'"):
        read_rows([{"conversations": [{"from": "parrot", "value": "a"}]}])


def test_alpaca_puts_the_input_below_the_instruction(read_rows: Read) -> None:
    rows = [
        {"instruction": "Add.", "input": "1 and 2", "output": "3", "system": "", "history": []},
        {"instruction": "Sing.", "input": "", "output": "La.", "system": "You are a bird.", "history": []},
        {"instruction": "And?", "input": "", "output": "c", "system": "", "history": [["a", "b"]]},
    ]
    shape, examples = read_rows(rows)
    assert shape.name == "Alpaca"
    assert pairs(examples) == [
        ("Add.\n\n1 and 2", "3"),
        ("You are a bird.\n\nSing.", "La."),
        ("User: a\nAssistant: b\nUser: And?", "c"),
    ]
    assert [example.messages is None for example in examples] == [True, False, False]
    with pytest.raises(DataError, match="history"):
        read_rows([{**rows[0], "history": ["a"]}])


def test_dolly_is_read_as_alpaca_is(read_rows: Read) -> None:
    row = {"instruction": "Who wrote it?", "context": "A play.", "response": "Holberg.", "category": "closed_qa"}
    assert pairs(read_rows([row])[1]) == [("Who wrote it?\n\nA play.", "Holberg.")]


A, B = [turn("assistant", "good")], [turn("assistant", "bad")]
ASKED = [turn("user", "q")]


@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        ({"prompt": "q", "chosen": "good", "rejected": "bad"}, "q"),
        ({"Question": "q", "Chosen": "good", "Rejected": "bad"}, "q"),
        ({"chosen": "What is it? good", "rejected": "What is it? bad"}, "What is it? "),
        (
            {"chosen": "\n\nHuman: q\n\nAssistant: good", "rejected": "\n\nHuman: q\n\nAssistant: bad"},
            "\n\nHuman: q\n\nAssistant:",
        ),
        ({"prompt": ASKED, "chosen": A, "rejected": B}, "q"),
        ({"prompt": "q", "chosen": A, "rejected": B}, "q"),
        ({"prompt": "q", "chosen": ASKED + A, "rejected": ASKED + B}, "q"),
        ({"chosen": ASKED + A, "rejected": ASKED + B}, "q"),
        ({"chosen": json.dumps(ASKED + A), "rejected": json.dumps(ASKED + B)}, "q"),
        ({"input": {"messages": ASKED}, "preferred_output": A, "non_preferred_output": B}, "q"),
    ],
)
def test_preferences_are_read_in_every_form(read_rows: Read, row: Mapping[str, Any], prompt: str) -> None:
    shape, (example,) = read_rows([row])
    assert shape.name == "preference pairs"
    assert example.prompt == prompt
    assert (example.completion.strip(), (example.rejected or "").strip()) == ("good", "bad")
    if example.messages:
        assert [(message.role, message.trained) for message in example.messages] == [
            ("user", False),
            ("assistant", True),
        ]


def test_the_prompt_of_preferences_may_be_named(read_rows: Read) -> None:
    _, (example,) = read_rows([{"ask": "q", "chosen": "a", "rejected": "b"}], prompt="ask")
    assert (example.prompt, example.rejected) == ("q", "b")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "q", "chosen": "a", "rejected": "a"}, "are the same"),
        ({"chosen": ASKED + A, "rejected": ASKED + A}, "are the same"),
        ({"chosen": ASKED + A, "rejected": ASKED}, "not one turn of the assistant"),
        ({"prompt": "q", "chosen": ASKED, "rejected": B}, "not one turn of the assistant"),
        ({"input": ["q"], "preferred_output": A, "non_preferred_output": B}, "'input' is not an object"),
    ],
)
def test_preferences_that_are_none_are_told(read_rows: Read, row: Mapping[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_rows([row])
    assert caught.value.where == "rows:2"


def test_a_conversation_tree_that_leads_in_a_circle_is_an_error(read_rows: Read) -> None:
    circle = {"a": {"parent": "b"}, "b": {"parent": "a"}}
    for nodes in (circle, {"a": {"parent": "gone"}}):
        with pytest.raises(DataError, match="in a circle"):
            read_rows([{"mapping": nodes, "current_node": "a"}])


def test_a_line_without_a_tab_among_cards_is_an_error(read_rows: Read) -> None:
    rows = [{"completion": f"{number}\tx"} for number in range(30)]
    assert pairs(read_rows(rows)[1])[:2] == [("0", "x"), ("1", "x")]
    with pytest.raises(DataError, match="no card") as caught:
        read_rows([*rows, {"completion": "x"}])
    assert caught.value.where == "rows:32"
    with pytest.raises(DataError, match="2 tabs"):
        read_rows([{"completion": "a\tb\tc"}])


def test_columns_that_only_share_the_name_with_an_export_are_columns(read_rows: Read) -> None:
    row = {"mapping": "", "comments": "none", "requester_id": "7", "question": "a", "answer": "b", "data": "x"}
    assert read_rows([{**row, "annotations": "", "conversation_parts": ""}])[0].name == "prompt and completion"


def test_marked_spans_are_no_answer(read_rows: Read) -> None:
    result = {"from_name": "ner", "value": {"start": 0, "end": 3, "text": "Oslo", "labels": ["place"]}}
    row = {"data": {"text": "Oslo"}, "annotations": [{"result": [result]}]}
    with pytest.raises(DataError, match="neither a choice nor a text"):
        read_rows([row])


COLUMNS = (
    "prompt", "completion", "text", "label", "messages", "conversations", "instruction", "input", "output",
    "system", "history", "tools", "functions", "chosen", "rejected", "preferred_output", "non_preferred_output",
    "mapping", "current_node", "data", "annotations", "comments", "requester_id", "description", "source",
    "conversation_parts", "ts", "type", "user",
)  # fmt: skip
WORDS = st.sampled_from(
    ["user", "assistant", "a", "text", "message", "[]", "{}", '[{"role": "user"}]', "human", "gpt", "a\tb", "comment"]
)
KEYS = st.sampled_from(
    [
        *("role", "content", "from", "value", "message", "parent", "author", "parts", "content_type", "messages"),
        *("result", "choices", "conversation_parts", "body", "public", "type", "weight", "tool_calls", "a"),
        *("function_call", "tools", "data", "from_name", "bot_id"),
    ]
)
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=10,
)
ROWS = st.lists(st.sampled_from(COLUMNS), min_size=1, max_size=5, unique=True).flatmap(
    lambda columns: st.lists(st.dictionaries(st.sampled_from(columns), ANY), min_size=1, max_size=4)
)
SHAPED = st.sampled_from(
    [
        ("prompt", "completion"), ("messages",), ("conversations",), ("instruction", "input", "output", "system"),
        ("chosen", "rejected"), ("prompt", "chosen", "rejected"), ("input", "preferred_output", "non_preferred_output"),
        ("mapping", "current_node"), ("data", "annotations"), ("requester_id", "comments", "description"),
        ("source", "conversation_parts"), ("ts", "text", "user", "type"), ("text",), ("completion",),
    ]
)  # fmt: skip
FITTING = SHAPED.flatmap(lambda columns: st.lists(st.fixed_dictionaries(dict.fromkeys(columns, ANY)), min_size=1))


def check_any_rows(read_rows: Read, rows: list[dict[str, Any]], template: str | None) -> None:
    try:
        shape, examples = read_rows(rows, **({} if template is None else {"prompt_template": template}))
    except FewtuneError as error:
        assert error.fix
    else:
        assert [example.row for example in examples] == list(range(len(examples)))
        assert all(isinstance(text, str) for pair in pairs(examples) for text in pair)
        assert set(shape.used_columns) <= {*COLUMNS}


@settings(deadline=None, max_examples=400)
@given(rows=ROWS | FITTING, template=st.none() | st.text("{}prompt\\n", max_size=12))
def test_any_rows_give_examples_or_an_error_of_ours(
    read_rows: Read, rows: list[dict[str, Any]], template: str | None
) -> None:
    check_any_rows(read_rows, rows, template)


@pytest.mark.slow
@settings(deadline=None, max_examples=4000)
@given(rows=ROWS | FITTING, template=st.none() | st.text("{}prompt\\n", max_size=12))
def test_any_rows_give_examples_or_an_error_of_ours_in_full(
    read_rows: Read, rows: list[dict[str, Any]], template: str | None
) -> None:
    check_any_rows(read_rows, rows, template)
