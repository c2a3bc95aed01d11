"""Responses: text in, text out; nothing of them is kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from fewtune.providers.contract import Answer, Request
from fewtune.service.errors import invalid
from fewtune.service.limits import Limits
from fewtune.service.wire.sampling import (
    Content,
    JsonSchema,
    Sampled,
    Tokens,
    asked_about,
    asked_of,
    at_most,
    ignored,
    missing,
    said,
    schema_text,
    token_logprobs,
    unsupported,
    whole,
)
from fewtune.service.wire.shared import Asked, Metadata, Name, Text, Told, Whole
from fewtune.types import Message

_LOGPROBS = "message.output_text.logprobs"
_REFUSED = {
    "store": "Responses are not kept here: leave 'store' out, or send false.",
    "background": "A response is written while its request waits: leave 'background' out, and stream it if it is long.",
    "previous_response_id": "Responses are not kept here, so none can be gone on with: send the turns in 'input'.",
    "conversation": "Conversations are not kept here: send the turns in 'input'.",
    "prompt": "Prompts are not kept here: send the text in 'instructions' and 'input'.",
    "tools": "No tool can be called from a response here: leave 'tools' out.",
    "moderation": "Nothing is moderated here: leave 'moderation' out.",
}


class InputItem(Asked):
    """A turn; items of other types are refused by name."""

    type: Text | None = None
    role: Literal["system", "developer", "user", "assistant"] | None = None
    content: Content | None = None

    def turn(self, place: str) -> Message:
        """Raises ServiceError for an item that is no turn."""
        if self.type not in (None, "message"):
            raise unsupported(f"{place} is of the type '{self.type[:40]}'. Only messages are read here.", place)
        if self.role is None:
            raise missing(f"{place}.role")
        if self.content is None:
            raise missing(f"{place}.content")
        return Message(role=self.role, content=said(self.content, place))


class TextFormat(JsonSchema):
    type: Literal["text", "json_object", "json_schema"]


class TextConfig(Asked):
    format: TextFormat | None = None


class ResponseAsked(Sampled):
    """The body of a response."""

    model: Name
    input: Text | list[InputItem]
    instructions: Text | None = None
    max_output_tokens: Tokens | None = None
    text: TextConfig | None = None
    include: list[Text] | None = None
    top_logprobs: Annotated[Whole, Field(ge=0)] | None = None
    metadata: Metadata | None = None
    store: bool | None = None
    background: bool | None = None
    previous_response_id: Text | None = None
    conversation: Any = None
    prompt: Any = None
    tools: list[Any] | None = None
    moderation: Any = None
    truncation: Literal["auto", "disabled"] | None = None
    reasoning: dict[str, Any] | None = None

    @property
    def ignored(self) -> list[str]:
        """What changes nothing here; the answer's headers name it."""
        cuts = ["truncation"] if self.truncation == "auto" else []
        return [*ignored(self, ("reasoning",)), *cuts]

    @property
    def wants_logprobs(self) -> bool:
        return bool(self.top_logprobs) or _LOGPROBS in (self.include or ())

    @property
    def format(self) -> TextFormat:
        asked = self.text.format if self.text else None
        return asked or TextFormat(type="text")

    def to_request(self, limits: Limits) -> Request:
        """Raises ServiceError for what is beyond a limit, or cannot be done here."""
        for name, message in _REFUSED.items():
            if getattr(self, name):
                raise unsupported(message, name)
        alternatives = at_most(self.top_logprobs or 0, limits.logprobs, "top_logprobs")
        turns = self.turns(limits)
        return asked_of(
            self,
            limits=limits,
            prompt=asked_about(turns),
            turns=turns,
            max_tokens=self.max_output_tokens,
            json_format=self._json_format(),
            alternatives=alternatives if self.wants_logprobs else None,
        )

    def turns(self, limits: Limits) -> list[Message]:
        """What the system says first."""
        system = [Message(role="system", content=self.instructions)] if self.instructions else []
        if isinstance(self.input, str):
            return [*system, Message(role="user", content=self.input)]
        if not self.input:
            raise invalid("'input' has no turn.", param="input")
        at_most(len(self.input), limits.messages, "input")
        return [*system, *(item.turn(f"input[{number}]") for number, item in enumerate(self.input))]

    def _json_format(self) -> str | None:
        if self.format.type == "text":
            return None
        if self.format.type == "json_object":
            return "object"
        if self.format.definition is None:
            raise missing("text.format.schema")
        return schema_text(self.format)


class OutputText(Told):
    type: Literal["output_text"] = "output_text"
    text: str
    annotations: tuple[()] = ()
    logprobs: list[dict[str, Any]]


class OutputMessage(Told):
    id: str
    type: Literal["message"] = "message"
    status: Literal["in_progress", "completed", "incomplete"]
    role: Literal["assistant"] = "assistant"
    content: list[OutputText]


class InputDetails(Told):
    cached_tokens: int = 0
    cache_write_tokens: int = 0


class OutputDetails(Told):
    reasoning_tokens: int = 0


class ResponseUsage(Told):
    input_tokens: int
    input_tokens_details: InputDetails = InputDetails()
    output_tokens: int
    output_tokens_details: OutputDetails = OutputDetails()
    total_tokens: int


class Incomplete(Told):
    reason: Literal["max_output_tokens"] = "max_output_tokens"


class Failed(Told):
    code: Literal["server_error", "rate_limit_exceeded", "invalid_prompt"]
    message: str


class ResponseReasoning(Told):
    effort: None = None
    summary: None = None


class ModelResponse(Told):
    """The response as it is at one moment."""

    id: str
    object: Literal["response"] = "response"
    created_at: int
    completed_at: int | None
    status: Literal["in_progress", "completed", "incomplete", "failed"]
    background: Literal[False] = False
    error: Failed | None = None
    incomplete_details: Incomplete | None = None
    instructions: str | None
    max_output_tokens: int | None
    metadata: dict[str, str]
    model: str
    output: list[OutputMessage]
    parallel_tool_calls: bool = True
    previous_response_id: None = None
    reasoning: ResponseReasoning = ResponseReasoning()
    service_tier: Literal["default"] = "default"
    store: Literal[False] = False
    temperature: float
    text: dict[str, Any]
    tool_choice: Literal["auto"] = "auto"
    tools: tuple[()] = ()
    top_logprobs: int
    top_p: float
    truncation: Literal["disabled"] = "disabled"
    usage: ResponseUsage | None
    user: None = None


def empty_response(asked: ResponseAsked, *, id: str, created: int, model: str) -> ModelResponse:
    """Before the first token."""
    return ModelResponse(
        id=id,
        created_at=created,
        completed_at=None,
        status="in_progress",
        instructions=asked.instructions,
        max_output_tokens=asked.max_output_tokens,
        metadata=asked.metadata or {},
        model=model,
        output=[],
        temperature=1.0 if asked.temperature is None else asked.temperature,
        top_p=1.0 if asked.top_p is None else asked.top_p,
        text={"format": _format_told(asked.format)},
        top_logprobs=asked.top_logprobs or 0,
        usage=None,
    )


def message_of(answer: Answer, *, id: str, logprobs: bool) -> OutputMessage:
    """The whole answer as the item of a response."""
    told = token_logprobs(answer.choices) if logprobs else []
    return OutputMessage(
        id=id,
        status="completed" if answer.stop_reason == "stop" else "incomplete",
        content=[OutputText(text=whole(answer.text), logprobs=told)],
    )


def ended_response(response: ModelResponse, message: OutputMessage, answer: Answer, *, at: int) -> ModelResponse:
    """The response with its answer."""
    read = answer.prompt_tokens or 0
    complete = answer.stop_reason == "stop"
    return response.model_copy(
        update={
            "status": "completed" if complete else "incomplete",
            "completed_at": at if complete else None,
            "incomplete_details": None if complete else Incomplete(),
            "output": [message],
            "usage": ResponseUsage(input_tokens=read, output_tokens=answer.tokens, total_tokens=read + answer.tokens),
        }
    )


def _format_told(asked: TextFormat) -> Mapping[str, Any]:
    if asked.type != "json_schema":
        return {"type": asked.type}
    return {"type": asked.type, "name": asked.name, "schema": asked.definition, "strict": True}
