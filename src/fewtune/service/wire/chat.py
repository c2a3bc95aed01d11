"""Chat completions: what is asked, and the answers whole and in chunks."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import Field

from fewtune.providers.contract import Answer, Request
from fewtune.service.errors import invalid
from fewtune.service.limits import Limits
from fewtune.service.wire.sampling import (
    Completed,
    Content,
    JsonSchema,
    TokenLogprobs,
    Tokens,
    Usage,
    asked_about,
    asked_of,
    at_most,
    missing,
    said,
    schema_text,
    token_logprobs,
    unsupported,
    usage,
    whole,
)
from fewtune.service.wire.shared import Asked, Metadata, Name, Text, Told, Whole
from fewtune.store.chat_completions import ChatCompletionRecord
from fewtune.types import Message, Role

_MOST_TOOLS = 128
"""As at OpenAI."""

FinishReason = Literal["stop", "length"]


class CalledFunction(Asked):
    name: Text
    arguments: Text = "{}"


class ToolCall(Asked):
    id: Text | None = None
    function: CalledFunction


class ChatMessage(Asked):
    role: Role
    content: Content | None = None
    name: Text | None = None
    tool_calls: Annotated[list[ToolCall], Field(max_length=_MOST_TOOLS)] | None = None
    function_call: CalledFunction | None = None
    tool_call_id: Text | None = None
    refusal: Text | None = None


class ResponseFormat(Asked):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    def to_json_format(self) -> str | None:
        """As the provider takes it; raises ServiceError where the schema is missing."""
        if self.type == "text":
            return None
        if self.type == "json_object":
            return "object"
        if self.json_schema is None:
            raise missing("response_format.json_schema")
        return schema_text(self.json_schema)


class ChatAsked(Completed):
    """The body of a chat completion."""

    model: Name
    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    logprobs: bool | None = None
    top_logprobs: Annotated[Whole, Field(ge=0)] | None = None
    max_completion_tokens: Tokens | None = None
    response_format: ResponseFormat | None = None
    tools: Annotated[list[dict[str, Any]], Field(max_length=_MOST_TOOLS)] | None = None
    tool_choice: str | dict[str, Any] | None = None
    functions: Annotated[list[dict[str, Any]], Field(max_length=_MOST_TOOLS)] | None = None
    function_call: str | dict[str, Any] | None = None
    modalities: list[Text] | None = None
    store: bool | None = None
    metadata: Metadata | None = None

    def to_request(self, limits: Limits) -> Request:
        """Raises ServiceError for what is beyond a limit, or cannot be done here."""
        at_most(self.count, limits.choices, "n")
        at_most(len(self.messages), limits.messages, "messages")
        turns = self.turns()
        length = self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens
        return asked_of(
            self,
            limits=limits,
            prompt=asked_about(turns),
            turns=turns,
            tools=self._tools(),
            max_tokens=length,
            stop=self.stop,
            json_format=self.response_format and self.response_format.to_json_format(),
            alternatives=self._alternatives(limits),
        )

    def turns(self) -> list[Message]:
        return [_turn(message, f"messages[{number}]") for number, message in enumerate(self.messages)]

    def _alternatives(self, limits: Limits) -> int | None:
        if not self.logprobs:
            if self.top_logprobs:
                raise invalid("'top_logprobs' needs 'logprobs' to be true.", param="top_logprobs")
            return None
        return at_most(self.top_logprobs or 0, limits.logprobs, "top_logprobs")

    def _tools(self) -> str | None:
        """The tools that the base's template is shown. What calls one is text: nothing makes a call of it here."""
        if any(kind != "text" for kind in self.modalities or ()):
            raise unsupported("Models here write only text: leave 'modalities' out, or ask for text.", "modalities")
        tools = self.tools or [{"type": "function", "function": function} for function in self.functions or ()]
        name, choice = ("tool_choice", self.tool_choice) if self.tools else ("function_call", self.function_call)
        if choice not in (None, "auto", "none"):
            raise unsupported(f"'{name}' can be auto or none: no model here can be held to call a tool.", name)
        return json.dumps(tools, ensure_ascii=False) if tools and choice != "none" else None


class ChatAnswerMessage(Told):
    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None
    annotations: tuple[()] = ()


class ChatLogprobs(Told):
    content: list[TokenLogprobs]
    refusal: None = None


class ChatChoice(Told):
    index: int
    message: ChatAnswerMessage
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason


class ChatCompletion(Told):
    """The whole answer."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage
    service_tier: Literal["default"] = "default"
    system_fingerprint: str
    metadata: dict[str, str] | None = None


class ChatMetadata(Asked):
    """What is to be changed of a kept one."""

    metadata: Metadata | None


class ChatCompletionDeleted(Told):
    """A kept one that is gone."""

    id: str
    object: Literal["chat.completion.deleted"] = "chat.completion.deleted"
    deleted: Literal[True] = True


class KeptMessage(Told):
    """A turn that was answered."""

    id: str
    role: Role
    content: str | list[dict[str, Any]] | None = None
    name: str | None = None


def completion_of(
    answers: list[Answer], *, id: str, created: int, model: str, fingerprint: str, asked: ChatAsked
) -> ChatCompletion:
    """The prompt is counted once, however many answers it has."""
    return ChatCompletion(
        id=id,
        created=created,
        model=model,
        choices=[_choice(answer, place, asked) for place, answer in enumerate(answers)],
        usage=usage(answers[0].prompt_tokens or 0, sum(answer.tokens for answer in answers)),
        system_fingerprint=fingerprint,
        metadata=(asked.metadata or {}) if asked.store else None,
    )


def kept(completion: ChatCompletion, asked: ChatAsked, project: str) -> ChatCompletionRecord:
    """As the store keeps it."""
    return ChatCompletionRecord(
        id=completion.id,
        project=project,
        created_at=completion.created,
        model=completion.model,
        metadata=asked.metadata or {},
        messages=[message.model_dump(exclude_none=True) for message in asked.messages],
        answer=completion.model_dump(exclude={"metadata"}),
    )


def kept_completion(record: ChatCompletionRecord) -> ChatCompletion:
    return ChatCompletion.model_validate({**record.answer, "id": record.id, "metadata": record.metadata})


def kept_messages(record: ChatCompletionRecord) -> list[KeptMessage]:
    return [KeptMessage(**message, id=f"{record.id}-{place}") for place, message in enumerate(record.messages)]


def finish_reason(answer: Answer) -> FinishReason:
    return "stop" if answer.stop_reason == "stop" else "length"


def _choice(answer: Answer, place: int, asked: ChatAsked) -> ChatChoice:
    logprobs = ChatLogprobs.model_validate({"content": token_logprobs(answer.choices)}) if asked.logprobs else None
    message = ChatAnswerMessage(content=whole(answer.text))
    return ChatChoice(index=place, message=message, logprobs=logprobs, finish_reason=finish_reason(answer))


def _turn(message: ChatMessage, place: str) -> Message:
    calls = message.tool_calls or ([ToolCall(function=message.function_call)] if message.function_call else [])
    content = said(message.content, place) or message.refusal or ""
    if message.content is None and not calls and message.refusal is None:
        raise missing(f"{place}.content")
    if calls and message.role != "assistant":
        raise invalid("Only turns of the assistant call tools.", param=f"{place}.tool_calls")
    return Message(
        role=message.role,
        content=content,
        name=message.name,
        calls=json.dumps([_call(one) for one in calls], ensure_ascii=False) if calls else None,
        call_id=message.tool_call_id,
    )


def _call(call: ToolCall) -> dict[str, Any]:
    identity = {} if call.id is None else {"id": call.id}
    function = {"name": call.function.name, "arguments": call.function.arguments}
    return {**identity, "type": "function", "function": function}
