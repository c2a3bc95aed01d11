"""Completions as they were before chat: a prompt is gone on with."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, cast

from pydantic import Field

from fewtune.providers.contract import Answer, Request, TokenChoice
from fewtune.service.limits import Limits
from fewtune.service.wire.chat import FinishReason, finish_reason
from fewtune.service.wire.sampling import (
    Completed,
    Usage,
    asked_of,
    at_most,
    finite,
    token_bytes,
    unsupported,
    usage,
    whole,
)
from fewtune.service.wire.shared import Name, Text, Told, Whole

_USUAL_TOKENS = 16


class CompletionAsked(Completed):
    """The body of a completion."""

    model: Name
    prompt: Text | list[Text] | list[Whole] | list[list[Whole]]
    best_of: Annotated[Whole, Field(ge=0)] | None = None
    logprobs: Annotated[Whole, Field(ge=0)] | None = None
    echo: bool | None = None
    suffix: Text | None = None

    def prompts(self, limits: Limits) -> list[str]:
        """Raises ServiceError for tokens in the place of text, and for too many prompts."""
        given: Sequence[object] = [self.prompt] if isinstance(self.prompt, str) else self.prompt
        if not given or not all(isinstance(one, str) for one in given):
            message = "A prompt is text, or a list of texts: each base has tokens of its own, so ids mean nothing here."
            raise unsupported(message, "prompt")
        at_most(len(given) * self.count, limits.prompts, "prompt")
        return cast(list[str], given)

    def to_requests(self, limits: Limits, *, framed: bool) -> list[Request]:
        """One for each prompt; raises ServiceError for what is beyond a limit, or cannot be done here."""
        at_most(self.count, limits.choices, "n")
        if self.best_of not in (None, 0, self.count):
            raise unsupported("'best_of' can only be the same as 'n'.", "best_of")
        alternatives = self.logprobs if self.logprobs is None else self._within(limits)
        length = _USUAL_TOKENS if self.max_tokens is None else self.max_tokens
        return [
            asked_of(
                self,
                limits=limits,
                prompt=prompt,
                max_tokens=length,
                stop=self.stop,
                alternatives=alternatives,
                framed=framed,
            )
            for prompt in self.prompts(limits)
        ]

    def _within(self, limits: Limits) -> int:
        return at_most(self.logprobs or 0, limits.completion_logprobs, "logprobs")


class CompletionLogprobs(Told):
    """Of each token; the offsets count characters of the choice's text."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]] | None
    text_offset: list[int]


class CompletionChoice(Told):
    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: FinishReason


class Completion(Told):
    """The whole answer."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage
    system_fingerprint: str


class Offsets:
    """The tokens of one choice, piece by piece; `echoed` is what its text begins with."""

    def __init__(self, echoed: str) -> None:
        self._offset = len(echoed)
        # A character may be spread over several tokens: it begins with the first of them.
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def logprobs(self, choices: Iterable[TokenChoice], alternatives: int) -> dict[str, Any]:
        """As `CompletionLogprobs`, of these tokens alone."""
        told: dict[str, Any] = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
        for one in choices:
            told["tokens"].append(_shown(one.text))
            told["token_logprobs"].append(finite(one.log_likelihood))
            # The chosen token is always among them, so that there may be one more than was asked for.
            ranked = (*one.alternatives, (one.text, one.log_likelihood))
            told["top_logprobs"].append({_shown(text): finite(value) for text, value in reversed(ranked)})
            told["text_offset"].append(self._offset)
            self._offset += len(self._decoder.decode(token_bytes(one.text)))
        return told if alternatives else {**told, "top_logprobs": None}


def completion_of(
    answers: Sequence[Answer], *, id: str, created: int, model: str, fingerprint: str, asked: CompletionAsked
) -> Completion:
    """`answers` are those to the first prompt, then those to the second, and so on; each prompt is counted once."""
    prompts = asked.prompt if isinstance(asked.prompt, list) else [asked.prompt]
    return Completion(
        id=id,
        created=created,
        model=model,
        choices=[
            _choice(answer, place, str(prompts[place // asked.count]), asked) for place, answer in enumerate(answers)
        ],
        usage=usage(
            sum(answer.prompt_tokens or 0 for answer in answers[:: asked.count]),
            sum(answer.tokens for answer in answers),
        ),
        system_fingerprint=fingerprint,
    )


def _choice(answer: Answer, place: int, prompt: str, asked: CompletionAsked) -> CompletionChoice:
    echoed = prompt if asked.echo else ""
    told = None if asked.logprobs is None else Offsets(echoed).logprobs(answer.choices, asked.logprobs)
    return CompletionChoice(
        index=place,
        text=echoed + whole(answer.text),
        logprobs=None if told is None else CompletionLogprobs.model_validate(told),
        finish_reason=finish_reason(answer),
    )


def _shown(text: str) -> str:
    """A token that is no whole text is written by its bytes, as OpenAI does."""
    given = token_bytes(text)
    try:
        return given.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in given)
