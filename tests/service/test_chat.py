from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from openai import APIError, AsyncOpenAI, BadRequestError, InternalServerError, NotFoundError, RateLimitError

from fewtune.providers.contract import Request
from service.scripted_service import ScriptedService


def turns(content: str) -> list[Any]:
    return [{"role": "user", "content": content}]


def last_request(service: ScriptedService) -> Request:
    return service.worker.asked[-1].request


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_the_official_client_gets_an_answer(scripted: ScriptedService) -> None:
    completion = scripted.openai.chat.completions.create(model="pocket", messages=turns("hello big world"))
    (choice,) = completion.choices
    assert (choice.message.content, choice.message.role, choice.finish_reason) == (
        "hello big world",
        "assistant",
        "stop",
    )
    assert completion.usage and completion.usage.model_dump(include={"prompt_tokens", "completion_tokens"}) == {
        "prompt_tokens": 3,
        "completion_tokens": 3,
    }
    assert completion.model == "pocket" and completion.system_fingerprint


def test_the_asynchronous_client_reads_a_stream(scripted: ScriptedService) -> None:
    async def read() -> list[str]:
        async with AsyncOpenAI(base_url=scripted.address, api_key=scripted.key) as openai:
            stream = await openai.chat.completions.create(model="pocket", messages=turns("a b c"), stream=True)
            return [chunk.choices[0].delta.content or "" async for chunk in stream]

    assert asyncio.run(read()) == ["", "a", " b", " c", ""]


def test_a_stream_begins_with_the_role_and_ends_with_done(scripted: ScriptedService) -> None:
    *chunks, done = scripted.events("/chat/completions", {"model": "pocket", "messages": turns("a b")})
    choices = [chunk["choices"][0] for chunk in chunks]
    assert done == "[DONE]"
    assert choices[0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert [choice["delta"] for choice in choices[1:]] == [{"content": "a"}, {"content": " b"}, {}]
    assert [choice["finish_reason"] for choice in choices] == [None, None, None, "stop"]
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}


def test_the_usage_is_streamed_where_it_is_asked_for(scripted: ScriptedService) -> None:
    body = {"model": "pocket", "messages": turns("a b"), "stream_options": {"include_usage": True}, "n": 2}
    *chunks, last, _ = scripted.events("/chat/completions", body)
    assert all(chunk["usage"] is None for chunk in chunks)
    assert last["choices"] == []
    assert (last["usage"]["prompt_tokens"], last["usage"]["completion_tokens"]) == (2, 4)


def test_an_answer_that_is_cut_says_so(scripted: ScriptedService) -> None:
    for name in ("max_tokens", "max_completion_tokens"):
        (choice,) = scripted.chat("a b c", **{name: 2})["choices"]
        assert (choice["message"]["content"], choice["finish_reason"]) == ("a b", "length")


def test_choices_have_seeds_one_after_another(scripted: ScriptedService) -> None:
    before = len(scripted.worker.asked)
    told = scripted.chat("a", n=3, seed=41)
    assert [choice["index"] for choice in told["choices"]] == [0, 1, 2]
    assert sorted(ask.request.seed for ask in scripted.worker.asked[before:]) == [41, 42, 43]
    assert told["usage"]["completion_tokens"] == 3 and told["usage"]["prompt_tokens"] == 1


def test_without_a_seed_every_request_has_another(scripted: ScriptedService) -> None:
    found = set[int]()
    for _ in range(3):
        scripted.chat("a")
        found.add(last_request(scripted).seed)
    assert len(found) == 3


def test_any_seed_of_openais_is_taken(scripted: ScriptedService) -> None:
    scripted.chat("a", seed=-9007199254740991, n=2)
    assert 0 <= last_request(scripted).seed < 2**63


def test_what_is_asked_reaches_the_worker(scripted: ScriptedService) -> None:
    scripted.chat("a", temperature=0.25, top_p=0.5, stop=["\n", "END"], max_tokens=7)
    request = last_request(scripted)
    assert (request.temperature, request.top_p, request.stop, request.max_tokens) == (0.25, 0.5, ("\n", "END"), 7)
    assert request.framed and request.json is None and request.alternatives is None


def test_the_defaults_are_openais(scripted: ScriptedService) -> None:
    scripted.chat("a", stop=None, n=None, temperature=None, seed=None, logprobs=None, response_format=None)
    request = last_request(scripted)
    assert (request.temperature, request.top_p, request.stop) == (1.0, 1.0, ())
    assert request.max_tokens == scripted.stores.limits.max_tokens


def test_a_nucleus_of_nothing_is_greedy(scripted: ScriptedService) -> None:
    scripted.chat("a", top_p=0, stop="x")
    assert (last_request(scripted).temperature, last_request(scripted).stop) == (0.0, ("x",))


def test_more_tokens_than_the_limit_are_as_many_as_it_allows(scripted: ScriptedService) -> None:
    scripted.chat("a", max_tokens=100_000)
    assert last_request(scripted).max_tokens == scripted.stores.limits.max_tokens


def test_every_role_and_parts_of_text_are_read(scripted: ScriptedService) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": "Briefer.", "name": "me"},
        {"role": "user", "content": [{"type": "text", "text": "What "}, {"type": "text", "text": "now?"}]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "Nothing."},
        {"role": "user", "content": "Say it"},
    ]
    status, _, _ = scripted.post("/chat/completions", {"model": "pocket", "messages": messages})
    assert status == 200
    told = last_request(scripted).messages or ()
    assert [turn.content for turn in told] == ["Be brief.", "Briefer.", "What now?", "", "Nothing.", "Say it"]
    assert json.loads(told[3].calls or "") == [call] and told[4].call_id == "call_1" and told[1].name == "me"
    assert not any(turn.trained for turn in told)


def test_a_base_without_turns_gets_the_prompt_that_it_would_be_tuned_with(scripted: ScriptedService) -> None:
    body = {"model": "pocket", "messages": [{"role": "system", "content": "Be brief."}, *turns("Hello?")]}
    scripted.post("/chat/completions", body)
    assert last_request(scripted).prompt == "Be brief.\n\nHello?"


def test_log_probabilities_are_told_token_by_token(scripted: ScriptedService) -> None:
    completion = scripted.openai.chat.completions.create(
        model="pocket", messages=turns("é"), logprobs=True, top_logprobs=2
    )
    stream = scripted.openai.chat.completions.create(
        model="pocket", messages=turns("é"), logprobs=True, top_logprobs=2, stream=True
    )
    streamed = [
        one for chunk in stream for one in ((chunk.choices[0].logprobs and chunk.choices[0].logprobs.content) or ())
    ]
    told = completion.choices[0].logprobs
    assert told and told.content and [one.bytes for one in told.content] == [[0xC3], [0xA9]]
    assert [(other.token, other.logprob) for other in told.content[0].top_logprobs] == [("é", -0.25), ("?", -9999.0)]
    assert [one.model_dump() for one in streamed] == [one.model_dump() for one in told.content]


def test_no_log_probabilities_are_told_unasked(scripted: ScriptedService) -> None:
    assert scripted.chat("a")["choices"][0]["logprobs"] is None
    assert last_request(scripted).alternatives is None


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, "object"),
        ({"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}, '{"type": "object"}'),
        ({"type": "json_schema", "json_schema": {"name": "x"}}, "object"),
    ],
)
def test_a_format_becomes_a_constraint(scripted: ScriptedService, given: dict[str, Any], wanted: str | None) -> None:
    scripted.chat("a", response_format=given)
    assert last_request(scripted).json == wanted


def test_tools_are_shown_to_the_base_unless_none_is_chosen(scripted: ScriptedService) -> None:
    tools = [{"type": "function", "function": {"name": "look"}}]
    scripted.chat("a", tools=tools)
    assert json.loads(last_request(scripted).tools or "") == tools
    scripted.chat("a", tools=tools, tool_choice="none")
    assert last_request(scripted).tools is None
    scripted.chat("a", functions=[{"name": "look"}], function_call="auto")
    assert json.loads(last_request(scripted).tools or "") == tools


def test_what_changes_nothing_is_named_in_a_header(scripted: ScriptedService) -> None:
    body = {"model": "pocket", "messages": turns("a"), "logit_bias": {"5": 1}, "presence_penalty": 1, "user": "me"}
    _, headers, _ = scripted.post("/chat/completions", {**body, "frequency_penalty": 0})
    assert headers["fewtune-ignored-parameters"] == "presence_penalty, logit_bias"


def test_a_name_of_openais_stands_for_the_base_and_the_header_says_so(scripted: ScriptedService) -> None:
    status, headers, told = scripted.post("/chat/completions", {"model": "gpt-4o-mini", "messages": turns("a")})
    assert status == 200 and json.loads(told)["model"] == "gpt-4o-mini"
    assert headers["fewtune-model-alias"] == "gpt-4o-mini=pocket"
    _, headers, _ = scripted.post("/chat/completions", {"model": "pocket", "messages": turns("a")})
    assert "fewtune-model-alias" not in headers


def test_tuned_models_are_asked_by_their_names(scripted: ScriptedService) -> None:
    for name, kind in (("ft:pocket:x:y:1", "tuned"), ("ft:pocket:x:y:1:ckpt-step-3", "checkpoint")):
        scripted.stores.models.add(name=name, project="default", base="pocket", kind=kind)  # type: ignore[arg-type]
        told = json.loads(scripted.post("/chat/completions", {"model": name, "messages": turns("a")})[2])
        assert told["model"] == name
        assert (scripted.worker.asked[-1].model.name, scripted.worker.asked[-1].model.base) == (name, "pocket")


def test_another_projects_model_is_not_there_until_it_is_granted(scripted: ScriptedService) -> None:
    name = "ft:pocket:x:theirs:1:ckpt-step-1"
    scripted.stores.models.add(name=name, project="theirs", base="pocket", kind="checkpoint")
    body = {"model": name, "messages": turns("a")}
    status, error = scripted.refused("/chat/completions", body)
    assert (status, error["code"]) == (404, "model_not_found")
    scripted.stores.permissions.create("theirs", name, ["default"])
    assert scripted.post("/chat/completions", body)[0] == 200


def test_an_unknown_model_is_told_with_the_nearest_names(scripted: ScriptedService) -> None:
    with pytest.raises(NotFoundError) as caught:
        scripted.openai.chat.completions.create(model="pockte", messages=turns("a"))
    assert caught.value.code == "model_not_found" and caught.value.param == "model"
    assert "'pocket'" in caught.value.message


@pytest.mark.parametrize(
    ("changed", "param"),
    [
        ({"n": 17}, "n"),
        ({"n": 0}, "n"),
        ({"temperature": 2.5}, "temperature"),
        ({"top_p": 1.5}, "top_p"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"stop": ""}, "stop"),
        ({"stop": "x" * 257}, "stop"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"seed": 2**64}, "seed"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": "a"}] * 2049}, "messages"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "king", "content": "a"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({"messages": [{"role": "user", "content": "\x00"}]}, "messages[0].content"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"tools": [{"type": "function"}], "tool_choice": "required"}, "tool_choice"),
        ({"functions": [{"name": "f"}], "function_call": {"name": "f"}}, "function_call"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"model": None}, "model"),
        ({"frequency_penalty": 3}, "frequency_penalty"),
    ],
)
def test_what_cannot_be_is_refused_by_name(scripted: ScriptedService, changed: dict[str, Any], param: str) -> None:
    before = len(scripted.worker.asked)
    status, error = scripted.refused("/chat/completions", {"model": "pocket", "messages": turns("a"), **changed})
    assert (status, error["type"], error["param"]) == (400, "invalid_request_error", param)
    assert error["message"] and error["code"]
    assert len(scripted.worker.asked) == before


@pytest.mark.parametrize(
    "changed",
    [
        {"messages": turns("\ud83d")},
        {"stop": "\ud83d"},
        {"tools": [{"type": "function", "function": {"name": "\ud83d"}}]},
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"title": "\ud83d"}}}},
    ],
)
def test_half_of_a_character_is_refused(scripted: ScriptedService, changed: dict[str, Any]) -> None:
    status, error = scripted.refused("/chat/completions", {"model": "pocket", "messages": turns("a"), **changed})
    assert status == 400 and "half of a character" in error["message"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        ("busy", RateLimitError),
        ("context_length_exceeded", BadRequestError),
        ("invalid_prompt", BadRequestError),
        ("invalid_schema", BadRequestError),
        ("unsupported", BadRequestError),
        ("bad_request", BadRequestError),
        ("model_not_found", NotFoundError),
        ("model_unusable", InternalServerError),
    ],
)
def test_a_refusal_has_its_status_even_where_a_stream_was_asked_for(
    scripted: ScriptedService, code: str, wanted: type[Exception], stream: bool
) -> None:
    with pytest.raises(wanted) as caught:
        scripted.openai.chat.completions.create(model="pocket", messages=turns(f"refuse {code}"), stream=stream)
    headers = caught.value.response.headers  # type: ignore[attr-defined]
    assert headers.get("retry-after") == ("1" if code == "busy" else None)
    assert headers.get("x-should-retry") == ("false" if code == "model_unusable" else None)


def test_a_worker_that_dies_before_the_first_word_is_tried_twice(scripted: ScriptedService) -> None:
    before = len(scripted.worker.asked)
    status, headers, _ = scripted.post("/chat/completions", {"model": "pocket", "messages": turns("die")})
    assert status == 503 and headers["retry-after"] == "1"
    assert len(scripted.worker.asked) == before + 2


def test_a_stream_that_breaks_ends_with_an_error(scripted: ScriptedService) -> None:
    body = {"model": "pocket", "messages": turns("die in the middle")}
    *_, piece, error = scripted.events("/chat/completions", body)
    assert piece["choices"][0]["delta"] == {"content": "one"}
    assert set(error["error"]) == {"message", "type", "param", "code"}
    with pytest.raises(APIError, match="has died"):
        list(scripted.openai.chat.completions.create(**body, stream=True))


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_is_withdrawn_when_its_reader_goes(scripted: ScriptedService, stream: bool) -> None:
    before = len(scripted.worker.withdrawn)
    body = json.dumps({"model": "pocket", "messages": turns("wait"), "stream": stream, "n": 3}).encode()
    with socket.create_connection(("127.0.0.1", scripted.port)) as connection:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{scripted.port}\r\n"
        head += f"Authorization: Bearer {scripted.key}\r\nContent-Type: application/json\r\n"
        asked = len(scripted.worker.asked)
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        until(lambda: len(scripted.worker.asked) == asked + 3)
    until(lambda: len(scripted.worker.withdrawn) == before + 3)
    ids = [ask.id for ask in scripted.worker.asked[-3:]]
    assert scripted.worker.withdrawn[-3:] == ids


def test_a_stream_is_withdrawn_when_its_reader_goes_in_the_middle(scripted: ScriptedService) -> None:
    body: dict[str, Any] = {"model": "pocket", "messages": turns("one"), "n": 2}
    script = scripted.worker.script

    async def one_word(line: Any, ask: Any) -> None:
        line.piece(ask, "one")

    scripted.worker.script = one_word
    try:
        stream = scripted.openai.chat.completions.create(**body, stream=True)
        next(stream)
        before = len(scripted.worker.withdrawn)
        stream.close()
        until(lambda: len(scripted.worker.withdrawn) == before + 2)
    finally:
        scripted.worker.script = script


def test_many_streams_at_once_are_not_mixed_up(scripted: ScriptedService) -> None:
    told: dict[int, str] = {}

    def ask(number: int) -> None:
        prompt = " ".join([str(number)] * 20)
        chunks = scripted.events("/chat/completions", {"model": "pocket", "messages": turns(prompt)})[:-1]
        told[number] = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told == {number: " ".join([str(number)] * 20) for number in range(16)}


def test_a_key_is_needed(scripted: ScriptedService) -> None:
    status, _, told = scripted.post("/chat/completions", {"model": "pocket", "messages": turns("a")}, key="sk-wrong")
    assert status == 401 and json.loads(told)["error"]["code"] == "invalid_api_key"
