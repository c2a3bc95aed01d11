from __future__ import annotations

import json
from typing import Any

import pytest

from service.scripted_service import ScriptedService


def complete(service: ScriptedService, prompt: Any, **values: Any) -> dict[str, Any]:
    status, _, told = service.post("/completions", {"model": "pocket", "prompt": prompt, **values})
    assert status == 200, told
    return json.loads(told)


def test_the_official_client_gets_a_completion_whole_and_streamed(scripted: ScriptedService) -> None:
    whole = scripted.openai.completions.create(model="pocket", prompt="a b c")
    # Not the strict client: it takes no null for the reason, which OpenAI sends until the end.
    loose = scripted.openai.copy(_extra_kwargs={"_strict_response_validation": False})
    streamed = list(loose.completions.create(model="pocket", prompt="a b c", stream=True))
    assert (whole.choices[0].text, whole.choices[0].finish_reason) == ("a b c", "stop")
    assert "".join(chunk.choices[0].text for chunk in streamed) == "a b c"
    assert [chunk.choices[0].finish_reason for chunk in streamed] == [None, None, None, "stop"]


def test_sixteen_tokens_are_written_unless_more_are_asked_for(scripted: ScriptedService) -> None:
    words = " ".join("x" * 20)
    assert complete(scripted, words)["choices"][0]["finish_reason"] == "length"
    assert len(complete(scripted, words)["choices"][0]["text"].split()) == 16
    assert complete(scripted, words, max_tokens=20)["choices"][0]["finish_reason"] == "stop"


def test_a_base_goes_on_with_the_text_and_a_tuned_model_gets_its_frame(scripted: ScriptedService) -> None:
    complete(scripted, "a")
    assert scripted.worker.asked[-1].request.framed is False
    scripted.stores.models.add(name="ft:pocket:c::1", project="default", base="pocket", kind="tuned")
    complete(scripted, "a", model="ft:pocket:c::1")
    assert scripted.worker.asked[-1].request.framed is True
    assert scripted.worker.asked[-1].request.messages is None


def test_several_prompts_have_their_choices_in_order(scripted: ScriptedService) -> None:
    told = complete(scripted, ["a b", "c"], n=2)
    assert [(one["index"], one["text"]) for one in told["choices"]] == [(0, "a b"), (1, "a b"), (2, "c"), (3, "c")]
    assert (told["usage"]["prompt_tokens"], told["usage"]["completion_tokens"]) == (3, 6)


def test_an_echo_puts_the_prompt_first_whole_and_streamed(scripted: ScriptedService) -> None:
    assert complete(scripted, "a b", echo=True)["choices"][0]["text"] == "a ba b"
    *chunks, _ = scripted.events("/completions", {"model": "pocket", "prompt": "a b", "echo": True})
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == "a ba b"


def test_log_probabilities_have_the_old_shape(scripted: ScriptedService) -> None:
    told = complete(scripted, "é x", logprobs=1)["choices"][0]["logprobs"]
    assert told["tokens"] == ["bytes:\\xc3", "bytes:\\xa9", " ", "x"]
    assert told["token_logprobs"] == [-0.5] * 4
    assert told["top_logprobs"][3] == {"é": -0.25, "x": -0.5}
    assert told["text_offset"] == [0, 0, 1, 2]


def test_offsets_go_on_from_piece_to_piece_and_begin_after_an_echo(scripted: ScriptedService) -> None:
    body = {"model": "pocket", "prompt": "ab c", "echo": True, "logprobs": 0}
    *chunks, _ = scripted.events("/completions", body)
    told = [chunk["choices"][0]["logprobs"] for chunk in chunks[:-1]]
    assert [offset for one in told for offset in one["text_offset"]] == [4, 5, 6, 7]
    assert all(one["top_logprobs"] is None for one in told)


def test_the_usage_of_a_stream_counts_each_prompt_once(scripted: ScriptedService) -> None:
    body = {"model": "pocket", "prompt": ["a b", "c"], "n": 2, "stream_options": {"include_usage": True}}
    *_, last, done = scripted.events("/completions", body)
    assert done == "[DONE]" and last["choices"] == []
    assert (last["usage"]["prompt_tokens"], last["usage"]["completion_tokens"]) == (3, 6)


def test_a_suffix_is_named_among_what_changes_nothing(scripted: ScriptedService) -> None:
    _, headers, _ = scripted.post("/completions", {"model": "pocket", "prompt": "a", "suffix": "b", "best_of": 1})
    assert headers["fewtune-ignored-parameters"] == "suffix"


@pytest.mark.parametrize(
    ("changed", "param"),
    [
        ({"prompt": [1, 2, 3]}, "prompt"),
        ({"prompt": [[1], [2]]}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"prompt": ["a"] * 129}, "prompt"),
        ({"prompt": ["a"] * 65, "n": 2}, "prompt"),
        ({"best_of": 3}, "best_of"),
        ({"logprobs": 6}, "logprobs"),
        ({"logprobs": -1}, "logprobs"),
        ({"n": 17}, "n"),
        ({"logprobs": True}, "logprobs"),
    ],
)
def test_what_cannot_be_is_refused_by_name(scripted: ScriptedService, changed: dict[str, Any], param: str) -> None:
    status, error = scripted.refused("/completions", {"model": "pocket", "prompt": "a", **changed})
    assert (status, error["param"]) == (400, param)


def test_a_stream_that_breaks_ends_with_an_error(scripted: ScriptedService) -> None:
    *_, last = scripted.events("/completions", {"model": "pocket", "prompt": "die in the middle"})
    assert last["error"]["type"] == "server_error"
