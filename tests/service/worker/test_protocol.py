"""Lines between web and worker."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewtune.providers.contract import Answer, Chunk, Request, TokenChoice
from fewtune.service.worker import protocol
from fewtune.service.worker.protocol import Ask, AskStatus, BadLine, Model, Wake, Withdraw, parse
from fewtune.types import Message

_WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_TURNS = st.builds(Message, role=st.sampled_from(["user", "assistant", "system"]), content=_WORDS)


@given(
    id=st.integers(0, 2**53 - 1),
    name=_WORDS,
    prompt=_WORDS,
    messages=st.none() | st.lists(_TURNS, max_size=3).map(tuple),
    stop=st.lists(_WORDS, max_size=4).map(tuple),
    temperature=st.floats(0, 2),
    alternatives=st.none() | st.integers(0, 20),
    framed=st.booleans(),
)
def test_a_question_is_read_as_it_was_written(id: int, name: str, **asked: Any) -> None:
    ask = Ask(id=id, model=Model(name=name, base="pocket"), request=Request(id=id, model=name, **asked))
    assert parse(protocol.ask_line(ask)) == ask


def test_the_other_messages_are_read() -> None:
    assert parse(b'{"withdraw": 17}') == Withdraw(id=17)
    assert parse(b'{"wake": true}') == Wake()
    assert parse(b'{"status": 3}') == AskStatus(id=3)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"no json",
        b"[1]",
        b"\xff\xfe",
        b"[" * 100_000,
        b"{}",
        b'{"ask": 1, "withdraw": 1}',
        b'{"wake": 1}',
        b'{"withdraw": -1}',
        b'{"withdraw": true}',
        b'{"withdraw": 1.5}',
        b'{"withdraw": 1, "more": 2}',
        b'{"status": "3"}',
        b'{"withdraw": 1' + b" " * protocol.LONGEST_LINE + b"}",
    ],
)
def test_what_is_no_message_is_refused(line: bytes) -> None:
    with pytest.raises(BadLine):
        parse(line)


@pytest.mark.parametrize(
    ("model", "request_"),
    [
        ({"base": "pocket"}, {}),
        ({"base": "pocket"}, {"prompt": 3}),
        ({"base": "pocket"}, {"prompt": "a", "max_tokens": "3"}),
        ({"base": "pocket"}, {"prompt": "a", "id": 2}),
        ({"base": "pocket"}, {"prompt": "a", "unheard_of": 2}),
        ({"base": "pocket"}, {"prompt": "a", "messages": [{"role": "devil", "content": ""}]}),
        ({"base": 3}, {"prompt": "a"}),
        ({"name": "x"}, {"prompt": "a"}),
        (None, {"prompt": "a"}),
    ],
)
def test_a_question_that_cannot_be_read_is_refused_by_its_id(model: Any, request_: Any) -> None:
    with pytest.raises(BadLine) as refused:
        parse(json.dumps({"ask": 5, "model": model, "request": request_}).encode())
    assert refused.value.ask == 5


def test_a_refusal_holds_nothing_of_what_was_asked() -> None:
    line = b'{"ask": 5, "model": {"base": "pocket"}, "request": {"prompt": "SECRET", "stop": ["SECRET", 3]}}'
    with pytest.raises(BadLine) as refused:
        parse(line)
    assert "SECRET" not in str(refused.value) and "stop" in str(refused.value)


def test_the_choices_of_tokens_travel_with_the_pieces() -> None:
    choice = TokenChoice(text="x", log_likelihood=-1.0, alternatives=(("x", -1.0), ("y", -2.0)))
    line = protocol.pieces_line([Chunk(id=3, text="x", choices=(choice,)), Chunk(id=4, text="z")])
    assert json.loads(line) == {"pieces": [[3, "x", [["x", -1.0, [["x", -1.0], ["y", -2.0]]]]], [4, "z"]]}


def test_half_a_character_travels() -> None:
    line = protocol.answer_line(Answer(id=1, text="\udcff", tokens=1, stop_reason="stop", seconds=0.0))
    assert json.loads(line)["answers"][0]["text"] == "\udcff"
