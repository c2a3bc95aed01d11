from __future__ import annotations

import json
from typing import Any

import pytest
from openai import NotFoundError
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from service.scripted_service import ScriptedService


def test_the_official_client_gets_a_response(scripted: ScriptedService) -> None:
    response = scripted.openai.responses.create(model="pocket", input="a b c", metadata={"k": "v"})
    assert (response.output_text, response.status, response.metadata) == ("a b c", "completed", {"k": "v"})
    assert response.usage and (response.usage.input_tokens, response.usage.output_tokens) == (3, 3)
    assert response.model == "pocket" and response.error is None


def test_the_events_of_a_stream_come_in_openais_order(scripted: ScriptedService) -> None:
    events = list(scripted.openai.responses.create(model="pocket", input="a b", stream=True))
    assert [event.type for event in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event.sequence_number for event in events] == list(range(10))
    assert events[-1].response.output_text == events[6].text == "a b"  # type: ignore[union-attr]


def test_each_event_is_named_on_a_line_of_its_own(scripted: ScriptedService) -> None:
    _, _, told = scripted.post("/responses", {"model": "pocket", "input": "a", "stream": True})
    for block in told.decode().removesuffix("\n\n").split("\n\n"):
        name, data = block.split("\n")
        assert name.removeprefix("event: ") == json.loads(data.removeprefix("data: "))["type"]
        TypeAdapter[Any](ResponseStreamEvent).validate_json(data.removeprefix("data: "), strict=True)


def test_the_clients_own_stream_gathers_the_text(scripted: ScriptedService) -> None:
    with scripted.openai.responses.stream(model="pocket", input="a b c") as stream:
        assert stream.get_final_response().output_text == "a b c"


def test_instructions_come_first_and_turns_in_their_order(scripted: ScriptedService) -> None:
    items = [
        {"role": "user", "content": "one"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "two"}]},
        {"role": "user", "content": [{"type": "input_text", "text": "three"}]},
    ]
    body = {"model": "pocket", "input": items, "instructions": "Be brief.", "temperature": 0.5, "max_output_tokens": 9}
    assert scripted.post("/responses", body)[0] == 200
    request = scripted.worker.asked[-1].request
    assert [(turn.role, turn.content) for turn in request.messages or ()] == [
        ("system", "Be brief."),
        ("user", "one"),
        ("assistant", "two"),
        ("user", "three"),
    ]
    assert (request.temperature, request.max_tokens) == (0.5, 9)


def test_a_response_that_is_cut_is_incomplete(scripted: ScriptedService) -> None:
    response = scripted.openai.responses.create(model="pocket", input="a b c", max_output_tokens=2)
    *_, last = scripted.openai.responses.create(model="pocket", input="a b c", max_output_tokens=2, stream=True)
    assert response.status == "incomplete" and response.output_text == "a b"
    assert response.incomplete_details and response.incomplete_details.reason == "max_output_tokens"
    assert last.type == "response.incomplete"


def test_a_format_becomes_a_constraint(scripted: ScriptedService) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    for given, wanted in (
        ({"type": "json_schema", "name": "x", "schema": schema}, json.dumps(schema)),
        ({"type": "json_object"}, "object"),
        ({"type": "text"}, None),
    ):
        status, _, told = scripted.post("/responses", {"model": "pocket", "input": "a", "text": {"format": given}})
        assert status == 200 and json.loads(told)["text"]["format"]["type"] == given["type"]
        assert scripted.worker.asked[-1].request.json == wanted


def test_log_probabilities_are_told_where_they_are_asked_for(scripted: ScriptedService) -> None:
    response = scripted.openai.responses.create(
        model="pocket", input="ab", include=["message.output_text.logprobs"], top_logprobs=1
    )
    content: Any = response.output[0].content[0]  # type: ignore[union-attr]
    assert [(one.token, one.top_logprobs[0].token) for one in content.logprobs] == [("a", "é"), ("b", "é")]


@pytest.mark.parametrize(
    ("changed", "param"),
    [
        ({"store": True}, "store"),
        ({"background": True}, "background"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"input": []}, "input"),
        ({"input": [{"type": "function_call_output", "output": "1"}]}, "input[0]"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0]"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content[0]"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"content": "a"}]}, "input[0].role"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"temperature": 3}, "temperature"),
    ],
)
def test_what_cannot_be_is_refused_by_name(scripted: ScriptedService, changed: dict[str, Any], param: str) -> None:
    status, error = scripted.refused("/responses", {"model": "pocket", "input": "a", **changed})
    assert (status, error["param"]) == (400, param)


def test_nothing_is_kept(scripted: ScriptedService) -> None:
    response = scripted.openai.responses.create(model="pocket", input="a")
    for use in (scripted.openai.responses.retrieve, scripted.openai.responses.delete, scripted.openai.responses.cancel):
        with pytest.raises(NotFoundError, match="not kept"):
            use(response.id)
    _, _, told = scripted.post("/responses", {"model": "pocket", "input": "a", "store": False})
    assert json.loads(told)["store"] is False


def test_a_stream_that_breaks_fails_with_an_error_event(scripted: ScriptedService) -> None:
    *_, error, failed = scripted.openai.responses.create(model="pocket", input="die in the middle", stream=True)
    assert error.type == "error" and failed.type == "response.failed"
    assert failed.response.error and failed.response.error.code == "server_error"
