"""The web process and real workers, over the provider `fake`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from openai import AsyncOpenAI, NotFoundError

from service.scripted_service import WebService
from standin.service_workers import Service, chat_lines, fake_settings, open_service, wait_for


class Whole:
    """The web's side and the workers' side of one service."""

    def __init__(self, workers: Service) -> None:
        self.workers = workers
        self.web = WebService(workers.settings)
        for number in range(workers.settings.workers):
            workers.start(number)
        wait_for(lambda: self.connected() == workers.settings.workers or None)

    def connected(self) -> int:
        statuses = self.web.app.state.workers.statuses()
        return len(asyncio.run_coroutine_threadsafe(statuses, self.web.loop).result(10))

    def stop(self) -> None:
        self.web.stop()
        self.workers.stop()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    running = Whole(open_service(fake_settings(tmp_path_factory.mktemp("service"), workers=2)))
    yield running
    running.stop()


def test_a_base_answers_whole_and_streamed(whole: Whole) -> None:
    assert whole.web.chat("Say this again")["choices"][0]["message"]["content"] == "Say this again"
    *chunks, done = whole.web.events(
        "/chat/completions", {"model": "pocket", "messages": [{"role": "user", "content": "Say this again"}]}
    )
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == "Say this again"
    assert done == "[DONE]" and chunks[-1]["choices"][0]["finish_reason"] == "stop"


def test_log_probabilities_and_json_come_through(whole: Whole) -> None:
    told = whole.web.chat("one two", logprobs=True, top_logprobs=2, n=2)
    for choice in told["choices"]:
        assert [token["token"] for token in choice["logprobs"]["content"]] == ["one", " two"]
        assert all(len(token["top_logprobs"]) == 2 for token in choice["logprobs"]["content"])
    told = whole.web.chat("one", response_format={"type": "json_object"})
    assert json.loads(told["choices"][0]["message"]["content"]) == {"answer": "one"}
    assert told["usage"]["completion_tokens"] > 0 and told["usage"]["prompt_tokens"] > 0


def test_completions_and_responses_are_answered(whole: Whole) -> None:
    completion = whole.web.openai.completions.create(model="pocket", prompt=["a b", "c"], logprobs=1)
    assert [choice.text for choice in completion.choices] == ["a b", "c"]
    assert whole.web.openai.responses.create(model="gpt-4.1-nano", input="a b").output_text == "a b"


def test_a_tuned_model_and_its_checkpoints_answer_until_it_is_deleted(whole: Whole) -> None:
    job = whole.workers.wait(whole.workers.job(chat_lines(12), hyperparameters={"n_epochs": 2}))
    assert job.state == "succeeded" and job.fine_tuned_model
    models = [record.name for record in whole.web.stores.models.list("default")]
    assert job.fine_tuned_model in models and any(":ckpt-step-" in name for name in models)

    async def ask(name: str) -> str | None:
        async with AsyncOpenAI(base_url=whole.web.address, api_key=whole.web.key) as openai:
            asked: list[Any] = [{"role": "user", "content": json.loads(chat_lines(1))["messages"][0]["content"]}]
            completion = await openai.chat.completions.create(model=name, messages=asked)
            return completion.choices[0].message.content

    wanted = json.loads(chat_lines(1))["messages"][1]["content"]
    assert {asyncio.run(ask(name)) for name in models} == {wanted}
    assert whole.web.openai.models.delete(job.fine_tuned_model).deleted
    with pytest.raises(NotFoundError):
        asyncio.run(ask(job.fine_tuned_model))


def test_all_are_answered_while_a_worker_is_killed_and_started_again(whole: Whole) -> None:
    assert whole.connected() == 2
    whole.workers.kill(0)
    for _ in range(4):
        assert whole.web.chat("still there")["choices"][0]["message"]["content"] == "still there"
    whole.workers.start(0)
    wait_for(lambda: whole.connected() == 2 or None)
    assert whole.web.chat("both there")["choices"][0]["message"]["content"] == "both there"
