from __future__ import annotations

import inspect
import json
import logging
import socket
import time
import traceback
from collections.abc import Iterator
from dataclasses import replace

import httpx2
import openai
import pytest
from openai.types.chat import ChatCompletion

from fewtune.errors import ProviderError, UsageError
from fewtune.providers import openai_access
from fewtune.providers.contract import (
    BASE,
    Answer,
    Checkpoint,
    Chunk,
    Event,
    Failure,
    Finished,
    Message,
    Point,
    Request,
    Trial,
    Workspace,
)
from fewtune.providers.openai_compatible import OpenAIProvider, check_access
from fewtune.types import Message as Turn
from fewtune.types import Plan
from standin.openai_standin import BASE_MODEL, KEY, Standin

PLAN = Plan(epochs=3, batch_size=4, learning_rate=0.3)
TRIAL = Trial(id="Trial_A.1", plan=PLAN, seed=7, train_rows=tuple(range(8)), valid_rows=(8, 9))

CONVERSATION = (
    Turn(role="system", content="Be brief."),
    Turn(role="user", content="Peru?", name="Ana"),
    Turn(
        role="assistant",
        content="",
        calls='[{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]',
    ),
    Turn(role="tool", content="Lima", call_id="c"),
    Turn(role="assistant", content="It is Lima.", trained=True),
    Turn(role="user", content="Thanks."),
)
TOOLS = '[{"type": "function", "function": {"name": "f", "parameters": {}}}]'


@pytest.fixture
def provider(hosted: Workspace) -> OpenAIProvider:
    return OpenAIProvider(hosted, poll_seconds=0.001)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's pauses between its tries take no time."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)


def train(provider: OpenAIProvider, trial: Trial = TRIAL) -> list[Event]:
    return list(provider.advance(dict.fromkeys(provider.start([trial]))))


def told(error: BaseException) -> str:
    """Everything of an error that could end up on a screen or in a log."""
    return "".join(traceback.format_exception(error)) + repr(error) + repr(vars(error))


class TestWhatIsSent:
    def test_the_plans_values_arrive_as_they_are(self, provider: OpenAIProvider, standin: Standin) -> None:
        provider.start([TRIAL])
        (body,) = standin.asked("POST", "/jobs")
        assert body["model"] == BASE_MODEL
        assert body["seed"] == 7
        assert body["metadata"]["fewtune_trial"] == "Trial_A.1"
        assert body["method"]["type"] == "supervised"
        assert body["method"]["supervised"]["hyperparameters"] == {
            "n_epochs": 3,
            "batch_size": 4,
            "learning_rate_multiplier": 0.3,
        }

    def test_rows_are_uploaded_as_chats_each_part_once(
        self, provider: OpenAIProvider, standin: Standin, hosted: Workspace
    ) -> None:
        provider.start([TRIAL, replace(TRIAL, id="b", seed=8)])
        assert len(standin.files) == 2
        for (name, content), rows in zip(standin.files.values(), (range(8), (8, 9)), strict=True):
            assert name.endswith(".jsonl")
            assert [json.loads(line) for line in content.decode().splitlines()] == [
                {
                    "messages": [
                        {"role": "user", "content": hosted.examples[row].prompt},
                        {"role": "assistant", "content": hosted.examples[row].completion},
                    ]
                }
                for row in rows
            ]

    def test_a_conversation_is_uploaded_with_its_turns_weights_calls_and_tools(
        self, standin: Standin, hosted: Workspace
    ) -> None:
        row = replace(hosted.examples[0], messages=CONVERSATION, tools=TOOLS)
        provider = OpenAIProvider(replace(hosted, examples={0: row}), poll_seconds=0.01)
        provider.start([replace(TRIAL, train_rows=(0,), valid_rows=())])
        ((_, content),) = standin.files.values()
        call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        assert json.loads(content) == {
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Peru?", "name": "Ana"},
                {"role": "assistant", "content": None, "tool_calls": [call], "weight": 0},
                {"role": "tool", "content": "Lima", "tool_call_id": "c"},
                {"role": "assistant", "content": "It is Lima.", "weight": 1},
            ],
            "tools": json.loads(TOOLS),
        }

    def test_without_validation_rows_no_validation_file_is_named(
        self, provider: OpenAIProvider, standin: Standin
    ) -> None:
        provider.start([replace(TRIAL, valid_rows=())])
        assert "validation_file" not in standin.asked("POST", "/jobs")[0]

    @pytest.mark.parametrize(
        ("name", "suffix"),
        [("Trial_A.1", "fewtune-trial-a-1"), ("x" * 90, "fewtune-" + "x" * 32), ("a_", "fewtune-a")],
    )
    def test_the_suffix_is_made_of_what_services_allow(
        self, provider: OpenAIProvider, standin: Standin, name: str, suffix: str
    ) -> None:
        provider.start([replace(TRIAL, id=name)])
        assert standin.asked("POST", "/jobs")[0]["suffix"] == suffix

    def test_a_seed_beyond_the_services_range_is_folded_into_it(
        self, provider: OpenAIProvider, standin: Standin
    ) -> None:
        provider.start([replace(TRIAL, seed=2**31 + 5)])
        assert standin.asked("POST", "/jobs")[0]["seed"] == 5

    @pytest.mark.parametrize(
        "trial",
        [
            replace(TRIAL, plan=replace(PLAN, epochs=51)),
            replace(TRIAL, plan=replace(PLAN, batch_size=257)),
            replace(TRIAL, plan=replace(PLAN, learning_rate=0.0)),
            replace(TRIAL, plan=replace(PLAN, learning_rate=float("nan"))),
            replace(TRIAL, plan=replace(PLAN, learning_rate=float("inf"))),
            replace(TRIAL, parent="ft:model"),
            replace(TRIAL, train_rows=()),
            replace(TRIAL, id="../outside"),
        ],
    )
    def test_a_trial_that_cannot_be_is_refused_before_anything_is_sent(
        self, provider: OpenAIProvider, standin: Standin, trial: Trial
    ) -> None:
        with pytest.raises(UsageError):
            provider.start([TRIAL, trial])
        assert standin.requests == []

    def test_parts_of_the_plan_that_the_service_does_not_take_are_told(self, provider: OpenAIProvider) -> None:
        events = train(provider, replace(TRIAL, plan=replace(PLAN, rank=16, cooldown=0.2)))
        assert isinstance(events[0], Message)
        assert "rank=16" in events[0].text and "cooldown=0.2" in events[0].text


class TestOneJobOnly:
    @pytest.mark.parametrize("ignores_filter", [False, True])
    def test_a_job_whose_creation_was_answered_500_is_found_and_not_made_again(
        self, provider: OpenAIProvider, standin: Standin, ignores_filter: bool
    ) -> None:
        provider.start([replace(TRIAL, id=f"before-{index}") for index in range(5)])
        standin.ignores_metadata_filter = ignores_filter
        standin.refuse("POST", "/jobs", 500, "Bad gateway.", after_commit=True)
        assert isinstance(train(provider)[-1], Finished)
        assert [job.request["metadata"]["fewtune_trial"] for job in standin.jobs.values()].count(TRIAL.id) == 1
        assert len(standin.asked("POST", "/jobs")) == 6

    def test_a_job_that_was_made_while_this_process_died_is_found_by_the_next(
        self, hosted: Workspace, standin: Standin
    ) -> None:
        standin.refuse("POST", "/jobs", 500, after_commit=True)
        standin.refuse("GET", "/jobs", 401)
        with pytest.raises(ProviderError):
            OpenAIProvider(hosted).start([TRIAL])
        OpenAIProvider(hosted).start([TRIAL])
        assert len(standin.jobs) == 1
        assert len(standin.asked("POST", "/jobs")) == 1

    def test_a_job_that_was_not_made_is_made_when_asked_again(self, provider: OpenAIProvider, standin: Standin) -> None:
        standin.refuse("POST", "/jobs", 503, "Overloaded.")
        with pytest.raises(ProviderError, match="Overloaded"):
            provider.start([TRIAL])
        assert standin.jobs == {}
        provider.start([TRIAL])
        assert len(standin.jobs) == 1

    def test_both_tries_carry_the_same_idempotency_marker(self, provider: OpenAIProvider, standin: Standin) -> None:
        standin.refuse("POST", "/jobs", 500)
        with pytest.raises(ProviderError):
            provider.start([TRIAL])
        provider.start([TRIAL])
        first, second = (body["metadata"]["fewtune_marker"] for body in standin.asked("POST", "/jobs"))
        assert first == second

    def test_the_same_trial_id_in_another_folder_is_another_job(self, hosted: Workspace, standin: Standin) -> None:
        for folder in ("a", "b"):
            OpenAIProvider(replace(hosted, folder=hosted.folder / folder)).start([TRIAL])
        assert len(standin.jobs) == 2


class TestProgress:
    def test_metrics_become_points_and_the_full_validation_wins(self, provider: OpenAIProvider) -> None:
        points = [event for event in train(provider) if isinstance(event, Point)]
        assert [point.step for point in points] == [1, 2, 3, 4, 5, 6]
        for point in points:
            assert point.train_loss is not None and point.validation is not None
            at_epoch_end = point.step % 2 == 0
            assert point.validation.loss == pytest.approx(point.train_loss + (0.2 if at_epoch_end else 0.1))
            assert point.epoch == point.step / 2

    def test_events_are_told_once_whatever_the_pages_and_the_pauses(
        self, provider: OpenAIProvider, standin: Standin, hosted: Workspace
    ) -> None:
        standin.page_size, standin.steps_per_look = 1, 5
        provider.start([TRIAL])
        heard: list[Event] = []
        while not any(isinstance(event, Finished) for event in heard):
            events = OpenAIProvider(hosted, poll_seconds=0.0).advance({TRIAL.id: None})
            heard.append(next(events))
            events.close()
        assert [event.step for event in heard if isinstance(event, Point)] == [1, 2, 3, 4, 5, 6]
        assert [event.step for event in heard if isinstance(event, Checkpoint)] == [2, 4, 6]
        messages = [event.text for event in heard if isinstance(event, Message)]
        assert len(messages) == len(set(messages)) == 3

    def test_the_end_names_the_model_and_the_trained_tokens(self, provider: OpenAIProvider) -> None:
        finished = train(provider)[-1]
        assert isinstance(finished, Finished)
        assert finished.model == "ft:standin-mini:acme:fewtune-trial-a-1:0001"
        assert finished.usage.tokens == 600
        assert finished.usage.usd is None

    def test_checkpoints_can_be_sampled_from_and_carry_no_files(self, provider: OpenAIProvider) -> None:
        checkpoints = [event for event in train(provider) if isinstance(event, Checkpoint)]
        assert [checkpoint.epoch for checkpoint in checkpoints] == [1, 2, 3]
        assert all(checkpoint.folder is None for checkpoint in checkpoints)
        replies = list(provider.sample(checkpoints[0].model, [Request(id=0, prompt="Capital of Peru?")]))
        assert isinstance(replies[-1], Answer) and replies[-1].text == "It is Lima."

    def test_a_failed_job_gives_the_services_reason_and_leaves_the_others_alone(
        self, provider: OpenAIProvider, standin: Standin
    ) -> None:
        provider.start([TRIAL])
        standin.failing = ("exceeded_quota", "Not enough credit.")
        (failure,) = (event for event in provider.advance({TRIAL.id: None}) if isinstance(event, Failure))
        assert failure.code == "exceeded_quota"
        assert "Not enough credit." in failure.text and "ftjob-0001" in failure.text
        standin.failing = None
        assert isinstance(train(provider, replace(TRIAL, id="b"))[-1], Finished)

    def test_a_rate_limit_on_the_way_is_waited_out(self, provider: OpenAIProvider, standin: Standin) -> None:
        standin.refuse("GET", "/events", 429, "Slow down.", times=2)
        assert isinstance(train(provider)[-1], Finished)

    @pytest.mark.parametrize("in_base64", [False, True])
    def test_the_table_of_results_is_kept_as_plain_text(
        self, provider: OpenAIProvider, standin: Standin, hosted: Workspace, in_base64: bool
    ) -> None:
        standin.results_in_base64 = in_base64
        train(provider)
        lines = (hosted.folder / f"{TRIAL.id}.results.csv").read_text().splitlines()
        assert lines[0] == "step,train_loss,train_accuracy,valid_loss"
        assert len(lines) == 7

    def test_a_table_that_cannot_be_fetched_is_told_and_costs_no_model(
        self, provider: OpenAIProvider, standin: Standin
    ) -> None:
        standin.refuse("GET", "/content", 404, "The file is gone.")
        *_, message, finished = train(provider)
        assert isinstance(message, Message) and "The file is gone." in message.text
        assert isinstance(finished, Finished)

    def test_a_state_that_was_damaged_is_named(self, provider: OpenAIProvider, hosted: Workspace) -> None:
        provider.start([TRIAL])
        state = hosted.folder / f"{TRIAL.id}.json"
        state.write_text("{", encoding="utf-8")
        with pytest.raises(UsageError, match="damaged") as raised:
            list(provider.advance({TRIAL.id: None}))
        assert raised.value.where == str(state)


class TestSampling:
    def test_an_answer_streams_in_pieces(self, provider: OpenAIProvider) -> None:
        *chunks, answer = provider.sample(BASE, [Request(id=4, prompt="one two three")])
        assert [chunk.text for chunk in chunks if isinstance(chunk, Chunk)] == ["one", " two", " three"]
        assert isinstance(answer, Answer)
        assert (answer.text, answer.tokens, answer.stop_reason) == ("one two three", 3, "stop")

    def test_shots_become_earlier_turns_and_options_are_passed_on(
        self, provider: OpenAIProvider, standin: Standin
    ) -> None:
        request = Request(id=0, prompt="c", shots=(("a", "b"),), max_tokens=2, temperature=0.5, seed=9, stop=("\n",))
        list(provider.sample(BASE, [request]))
        (body,) = standin.asked("POST", "/completions")
        assert [(message["role"], message["content"]) for message in body["messages"]] == [
            ("user", "a"),
            ("assistant", "b"),
            ("user", "c"),
        ]
        expected = {"model": BASE_MODEL, "max_tokens": 2, "temperature": 0.5, "seed": 9, "stop": ["\n"]}
        assert expected.items() <= body.items()

    def test_the_turns_of_a_conversation_are_asked_as_they_are(
        self, provider: OpenAIProvider, standin: Standin
    ) -> None:
        request = Request(id=1, prompt="plain", shots=(("a", "b"),), messages=CONVERSATION[:4], tools=TOOLS)
        list(provider.sample(BASE, [request]))
        (body,) = standin.asked("POST", "/chat/completions")
        roles = ["system", "user", "assistant", "user", "assistant", "tool"]
        assert [message["role"] for message in body["messages"]] == roles
        assert body["tools"] == json.loads(TOOLS)
        assert not any("weight" in message for message in body["messages"])

    def test_requests_are_taken_as_they_come(self, provider: OpenAIProvider) -> None:
        taken: list[int] = []

        def requests() -> Iterator[Request]:
            for number in range(3):
                taken.append(number)
                yield Request(id=number, prompt="one two")

        replies = provider.sample(BASE, requests())
        next(replies)
        assert taken == [0]
        replies.close()  # type: ignore[attr-defined]

    def test_an_answer_that_breaks_off_is_an_error(
        self, provider: OpenAIProvider, standin: Standin, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Standin, "_chunks", lambda *args: iter(()))
        with pytest.raises(ProviderError, match="broke off"):
            list(provider.sample(BASE, [Request(id=0, prompt="one")]))


class TestAccess:
    @pytest.mark.parametrize("key", [None, "", "  ", "sk-ключ", "sk-a\nb"])
    def test_without_a_usable_key_the_error_names_the_variable_and_not_its_value(
        self, monkeypatch: pytest.MonkeyPatch, hosted: Workspace, key: str | None
    ) -> None:
        monkeypatch.delenv("OPENAI_API_KEY")
        if key is not None:
            monkeypatch.setenv("OPENAI_API_KEY", key)
        for attempt in (check_access, lambda: OpenAIProvider(hosted)):
            with pytest.raises(ProviderError, match="OPENAI_API_KEY") as raised:
                attempt()
            assert raised.value.exit_code == 5
            assert not key or not key.strip() or key not in told(raised.value)

    @pytest.mark.parametrize("address", ["api.openai.com/v1", "ftp://host/v1", "http://", "http://[::1", "http://a:b"])
    def test_an_address_that_is_none_is_refused_early(
        self, monkeypatch: pytest.MonkeyPatch, standin: Standin, address: str
    ) -> None:
        monkeypatch.setenv("OPENAI_BASE_URL", address)
        with pytest.raises(ProviderError, match="OPENAI_BASE_URL"):
            check_access()

    def test_a_key_from_a_file_may_end_in_a_line_break(
        self, monkeypatch: pytest.MonkeyPatch, hosted: Workspace
    ) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", KEY + "\n")
        assert OpenAIProvider(hosted).start([TRIAL])


class TestErrors:
    def test_every_error_of_the_client_is_translated(self, provider: OpenAIProvider) -> None:
        exported = [value for value in list(vars(openai).values()) if isinstance(value, type)]
        errors = [kind for kind in exported if issubclass(kind, openai.OpenAIError)]
        assert len(errors) > 15
        for kind in errors:
            with pytest.raises(ProviderError) as raised, openai_access.translated(provider._client):
                raise _made(kind)
            error = raised.value
            assert error.where == "127.0.0.1" and error.what and error.fix
            assert error.__cause__ is None and KEY not in told(error)

    @pytest.mark.parametrize(
        ("status", "message", "advice"),
        [
            (401, "Incorrect API key.", "OPENAI_API_KEY"),
            (403, "Your organization is not allowed to create fine-tuning jobs.", "--provider local"),
            (404, "The model gpt-0 does not exist.", "model"),
            (429, "You exceeded your current quota.", "credit"),
            (400, "Training file has 8 examples, 10 are needed.", "what it refuses"),
            (500, "The server had an error.", "resumes"),
        ],
    )
    def test_a_refused_job_is_told_in_the_services_words_with_advice(
        self, provider: OpenAIProvider, standin: Standin, status: int, message: str, advice: str
    ) -> None:
        standin.refuse("POST", "/jobs", status, message)
        with pytest.raises(ProviderError) as raised:
            provider.start([TRIAL])
        assert message in raised.value.what and "req_standin" in raised.value.what
        assert raised.value.where == "127.0.0.1"
        assert raised.value.fix is not None and advice in raised.value.fix

    @pytest.mark.usefixtures("impatient")
    def test_a_service_that_is_not_there_is_told_with_the_reason(
        self, monkeypatch: pytest.MonkeyPatch, hosted: Workspace
    ) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{taken.getsockname()[1]}/v1")
            with pytest.raises(ProviderError, match="refused") as raised:
                OpenAIProvider(hosted).start([TRIAL])
        assert raised.value.fix is not None and "network" in raised.value.fix

    @pytest.mark.parametrize(
        ("kind", "body"), [("text/html", b"<html>Welcome</html>"), ("application/json", b"<html>")]
    )
    def test_a_web_page_instead_of_an_answer_is_told_as_such(
        self, provider: OpenAIProvider, standin: Standin, monkeypatch: pytest.MonkeyPatch, kind: str, body: bytes
    ) -> None:
        answer = httpx2.Response(200, headers={"content-type": kind}, content=body)
        monkeypatch.setattr(provider._client._client, "send", lambda request, **_: _with_request(answer, request))
        with pytest.raises(ProviderError, match="OPENAI_BASE_URL"):
            provider.start([TRIAL])


class TestSecrets:
    def test_the_key_is_written_nowhere(
        self,
        hosted: Workspace,
        standin: Standin,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        caplog.set_level(logging.DEBUG)
        provider = OpenAIProvider(hosted, poll_seconds=0.001)
        train(provider)
        standin.refuse("POST", "/jobs", 401, f"Incorrect API key provided: {KEY}.")
        with pytest.raises(ProviderError) as raised:
            provider.start([replace(TRIAL, id="b")])
        assert "[the key]" in raised.value.what
        assert KEY not in told(raised.value)
        assert KEY not in repr(provider) + repr(provider.capabilities) + repr(hosted) + caplog.text
        files = [path for path in hosted.folder.rglob("*") if path.is_file()]
        assert len(files) == 3
        assert not any(KEY.encode() in path.read_bytes() for path in files)

    def test_a_name_and_password_inside_the_address_are_not_repeated(
        self, monkeypatch: pytest.MonkeyPatch, hosted: Workspace, standin: Standin
    ) -> None:
        monkeypatch.setenv("OPENAI_BASE_URL", standin.url.replace("//", "//me:hidden@"))
        standin.refuse("POST", "/files", 403, "No.")
        with pytest.raises(ProviderError) as raised:
            OpenAIProvider(hosted).start([TRIAL])
        assert "hidden" not in told(raised.value)


def _with_request(answer: httpx2.Response, request: httpx2.Request) -> httpx2.Response:
    answer.request = request
    return answer


def _made(kind: type[openai.OpenAIError]) -> openai.OpenAIError:
    """An error of this kind, whatever its constructor asks for."""
    request = httpx2.Request("POST", "http://127.0.0.1/v1", headers={"Authorization": f"Bearer {KEY}"})
    offered = {
        "message": f"It failed with {KEY}.",
        "request": request,
        "response": httpx2.Response(418, request=request),
        "body": {"message": KEY},
        "completion": ChatCompletion.construct(usage=None),
        "unsent_messages": list[str](),
    }
    if kind.__init__ is openai.OpenAIError.__init__:
        return kind(offered["message"])
    asked = inspect.signature(kind).parameters
    return kind(**{name: value for name, value in offered.items() if name in asked})
