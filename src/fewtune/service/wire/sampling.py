"""What chat completions, completions and responses ask of a model alike."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from fewtune.data.conversation import plain
from fewtune.providers.contract import Request, TokenChoice
from fewtune.service.errors import ServiceError, invalid
from fewtune.service.limits import Limits
from fewtune.service.wire.shared import Asked, Real, Text, Told, Whole
from fewtune.types import Message

IGNORED_HEADER = "fewtune-ignored-parameters"
"""Names what was asked for and changes nothing here."""
_EVENT = {
    "type": "object",
    "required": ["data"],
    "properties": {"data": {"type": "string"}, "event": {"type": "string"}},
}
STREAMED: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {"itemSchema": _EVENT}}}}
"""How a route that can stream describes it."""
_SEEDS = 2**63
_TEXT_KINDS = ("text", "input_text", "output_text", "refusal")

Temperature = Annotated[Real, Field(ge=0, le=2)]
TopP = Annotated[Real, Field(ge=0, le=1)]
Penalty = Annotated[Real, Field(ge=-2, le=2)]
Tokens = Annotated[Whole, Field(ge=0, le=2**31 - 1)]
Seed = Annotated[Whole, Field(ge=-(2**63), le=2**63 - 1)]
Choices = Annotated[Whole, Field(ge=1)]
LogitBias = Annotated[dict[str, float], Field(max_length=2048)]
Stop = Text | list[Text]


class Sampled(Asked):
    """How an answer is drawn; what is null counts as not there."""

    temperature: Temperature | None = None
    top_p: TopP | None = None
    stream: bool | None = None


class StreamOptions(Asked):
    include_usage: bool | None = None


class Completed(Sampled):
    """What chat completions and completions have in common."""

    n: Choices | None = None
    seed: Seed | None = None
    stop: Stop | None = None
    max_tokens: Tokens | None = None
    stream_options: StreamOptions | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    logit_bias: LogitBias | None = None

    @property
    def count(self) -> int:
        """Answers to each prompt."""
        return self.n or 1

    @property
    def includes_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)

    @property
    def ignored(self) -> list[str]:
        """What changes nothing here; the answer's headers name it."""
        return ignored(self, ("suffix", "frequency_penalty", "presence_penalty", "logit_bias"))


class JsonSchema(Asked):
    name: Annotated[Text, Field(min_length=1, max_length=64)] = "response"
    definition: Annotated[dict[str, Any] | None, Field(alias="schema")] = None


class Part(Asked):
    """One part of a turn's content; only text is read."""

    type: Text
    text: Text | None = None
    refusal: Text | None = None


Content = Text | list[Part]


class TokenLogprob(Told):
    token: str
    bytes: list[int] | None
    logprob: float


class TokenLogprobs(TokenLogprob):
    top_logprobs: list[TokenLogprob]


class CachedTokens(Told):
    cached_tokens: int = 0


class ReasoningTokens(Told):
    reasoning_tokens: int = 0


class Usage(Told):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: CachedTokens = CachedTokens()
    completion_tokens_details: ReasoningTokens = ReasoningTokens()


def usage(prompt_tokens: int, completion_tokens: int) -> Usage:
    return Usage(
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        total_tokens=prompt_tokens + completion_tokens,
    )


def asked_of(
    sampled: Sampled,
    *,
    limits: Limits,
    prompt: str,
    max_tokens: int | None,
    stop: Stop | None = None,
    json_format: str | None = None,
    alternatives: int | None = None,
    turns: Sequence[Message] | None = None,
    tools: str | None = None,
    framed: bool = True,
) -> Request:
    """The provider's request; OpenAI's defaults are a temperature and a nucleus of 1, and all the context holds."""
    temperature = 1.0 if sampled.temperature is None else float(sampled.temperature)
    top_p = 1.0 if sampled.top_p is None else float(sampled.top_p)
    ends = stops(stop, limits)
    _check_unicode(prompt, tools, json_format, *ends, *(part for turn in turns or () for part in _parts(turn)))
    return Request(
        id=0,
        prompt=prompt,
        messages=None if turns is None else tuple(turns),
        tools=tools,
        max_tokens=limits.max_tokens if max_tokens is None else min(max_tokens, limits.max_tokens),
        # A nucleus that holds nothing but the most likely token.
        temperature=0.0 if top_p == 0 else temperature,
        top_p=top_p or 1.0,
        stop=ends,
        alternatives=alternatives,
        framed=framed,
        json=json_format,
    )


def said(content: Content | None, place: str) -> str:
    """A turn's text; raises ServiceError, naming the place, for what is none."""
    if not isinstance(content, list):
        return content or ""
    return "".join(_text(part, f"{place}.content[{number}]") for number, part in enumerate(content))


def missing(param: str) -> ServiceError:
    """400 for what has to be given."""
    return invalid(f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")


def asked_about(turns: Sequence[Message]) -> str:
    """The turns as plain text, for bases that know no turns: the prompt that such a conversation was tuned with."""
    return plain(turns)[0]


def seeds(seed: int | None, count: int) -> list[int]:
    """One for each choice, from the given one upwards."""
    first = secrets.randbelow(_SEEDS) if seed is None else seed
    return [(first + number) % _SEEDS for number in range(count)]


def stops(stop: Stop | None, limits: Limits) -> tuple[str, ...]:
    """Raises ServiceError for too many, or one that is empty or too long."""
    found = (stop,) if isinstance(stop, str) else tuple(stop or ())
    if len(found) > limits.stops:
        raise invalid(f"There are {len(found)} stop sequences, and at most {limits.stops} may be given.", param="stop")
    if any(not 1 <= len(one) <= limits.stop_characters for one in found):
        raise invalid(f"A stop sequence has 1 to {limits.stop_characters} characters.", param="stop")
    return found


def at_most(value: int, most: int, param: str) -> int:
    """Raises ServiceError beyond the limit."""
    if value > most:
        raise invalid(f"Invalid value for '{param}': {value} is above the limit of {most}.", param=param)
    return value


def schema_text(schema: JsonSchema) -> str:
    """As the provider takes it."""
    return json.dumps(schema.definition, ensure_ascii=False) if schema.definition else "object"


def unsupported(message: str, param: str) -> ServiceError:
    """400 for what OpenAI has and nobody can do here."""
    return invalid(message, param=param, code="unsupported_parameter")


def ignored(asked: Asked, names: Iterable[str]) -> list[str]:
    """Which of these parameters were given a value that would have changed something."""
    return [name for name in names if getattr(asked, name, None)]


def told_headers(headers: Mapping[str, str], ignored: Sequence[str]) -> Mapping[str, str]:
    """With those parameters that changed nothing: they are accepted, as scripts send them, but not in silence."""
    return {**headers, IGNORED_HEADER: ", ".join(ignored)} if ignored else headers


def token_logprobs(choices: Iterable[TokenChoice]) -> list[dict[str, Any]]:
    """As chat completions and responses tell them."""
    return [
        {**_logprob(one.text, one.log_likelihood), "top_logprobs": [_logprob(*other) for other in one.alternatives]}
        for one in choices
    ]


def whole(text: str) -> str:
    """Text that can be sent: bytes that are no whole character become U+FFFD."""
    return token_bytes(text).decode(errors="replace")


def _parts(turn: Message) -> tuple[str | None, ...]:
    return turn.content, turn.name, turn.calls, turn.call_id


def _check_unicode(*texts: str | None) -> None:
    try:
        "".join(filter(None, texts)).encode()
    except UnicodeEncodeError:
        raise invalid("The request holds half a character (a lone surrogate).") from None


def _logprob(text: str, log_likelihood: float) -> Mapping[str, Any]:
    return {"token": whole(text), "logprob": finite(log_likelihood), "bytes": list(token_bytes(text))}


def finite(log_likelihood: float) -> float:
    """JSON has no infinity; OpenAI writes -9999 for what cannot be."""
    return max(log_likelihood, -9999.0)


def token_bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")


def _text(part: Part, place: str) -> str:
    if part.type not in _TEXT_KINDS:
        raise unsupported(f"{place} is of the type '{part.type[:40]}'. Models here read only text.", place)
    text = part.refusal if part.type == "refusal" else part.text
    if text is None:
        raise missing(f"{place}.text")
    return text
