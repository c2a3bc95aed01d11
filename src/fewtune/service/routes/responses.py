"""Responses: created and streamed, never kept."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from fewtune.providers.contract import Answer, Chunk, TokenChoice
from fewtune.service.answer_stream import AnswerStream, event
from fewtune.service.answering import Begun, begin, choices_of, gather
from fewtune.service.asked_model import find_model
from fewtune.service.auth import CallerOf
from fewtune.service.errors import ServiceError
from fewtune.service.stores import StoresOf
from fewtune.service.wire.responses import (
    Failed,
    ModelResponse,
    OutputMessage,
    OutputText,
    ResponseAsked,
    empty_response,
    ended_response,
    message_of,
)
from fewtune.service.wire.sampling import STREAMED, token_logprobs, told_headers, whole

router = APIRouter(prefix="/responses", tags=["responses"])


@router.post("", response_model=ModelResponse, responses=STREAMED)
async def create_response(asked: ResponseAsked, http: Request, caller: CallerOf, stores: StoresOf) -> Response:
    """Answer a text or some turns, whole or as a stream of events."""
    model = await find_model(asked.model, caller.project, stores)
    requests = choices_of(asked.to_request(stores.limits), count=1, seed=None)
    headers = told_headers(model.headers, asked.ignored)
    response = empty_response(asked, id=f"resp_{secrets.token_hex(24)}", created=int(time.time()), model=model.name)
    message_id = f"msg_{secrets.token_hex(24)}"
    if asked.stream:
        begun = await begin(http, model, requests)
        events = _Events(response, message_id, asked.wants_logprobs)
        return AnswerStream(events.of(begun), begun.asking.withdraw, headers)
    (answer,) = await gather(http, model, requests)
    message = message_of(answer, id=message_id, logprobs=asked.wants_logprobs)
    ended = ended_response(response, message, answer, at=int(time.time()))
    return JSONResponse(ended.model_dump(), headers=headers)


@router.get("/{response_id:path}")
@router.delete("/{response_id:path}")
@router.post("/{response_id:path}")
async def find_response(response_id: str) -> Response:
    """There is never one: responses are not kept."""
    message = "Responses are not kept by this server, so there is none to be asked for, changed or deleted."
    raise ServiceError(404, message, param="response_id", code="response_not_found")


class _Events:
    """The events of one streamed response, numbered; a response here is one message with one text."""

    def __init__(self, response: ModelResponse, message_id: str, logprobs: bool) -> None:
        self._response = response
        self._item = {"item_id": message_id, "output_index": 0, "content_index": 0}
        self._message_id = message_id
        self._logprobs = logprobs
        self._choices: list[TokenChoice] = []
        self._number = -1

    async def of(self, begun: Begun) -> AsyncIterator[bytes]:
        yield self._beginning()
        try:
            async for replies in begun.replies():
                for reply in replies:
                    yield self._ending(reply) if isinstance(reply, Answer) else self._delta(reply)
        except ServiceError as error:
            yield self._failure(error)

    def _beginning(self) -> bytes:
        message = OutputMessage(id=self._message_id, status="in_progress", content=[])
        response = self._response.model_dump()
        return b"".join(
            (
                self._event("response.created", response=response),
                self._event("response.in_progress", response=response),
                self._event("response.output_item.added", output_index=0, item=message.model_dump()),
                self._event("response.content_part.added", **self._item, part=_part("", [])),
            )
        )

    def _delta(self, piece: Chunk) -> bytes:
        self._choices.extend(piece.choices)
        logprobs = token_logprobs(piece.choices) if self._logprobs else []
        return self._event("response.output_text.delta", **self._item, delta=whole(piece.text), logprobs=logprobs)

    def _ending(self, answer: Answer) -> bytes:
        answer = replace(answer, choices=tuple(self._choices))
        message = message_of(answer, id=self._message_id, logprobs=self._logprobs)
        text, logprobs = message.content[0].text, message.content[0].logprobs
        ended = ended_response(self._response, message, answer, at=int(time.time()))
        return b"".join(
            (
                self._event("response.output_text.done", **self._item, text=text, logprobs=logprobs),
                self._event("response.content_part.done", **self._item, part=_part(text, logprobs)),
                self._event("response.output_item.done", output_index=0, item=message.model_dump()),
                self._event(f"response.{ended.status}", response=ended.model_dump()),
            )
        )

    def _failure(self, error: ServiceError) -> bytes:
        failed = self._response.model_copy(
            update={"status": "failed", "error": Failed(code="server_error", message=error.message)}
        )
        return b"".join(
            (
                self._event("error", code=error.code, message=error.message, param=error.param),
                self._event("response.failed", response=failed.model_dump()),
            )
        )

    def _event(self, type: str, **values: Any) -> bytes:
        self._number += 1
        return event({"type": type, "sequence_number": self._number, **values}, type)


def _part(text: str, logprobs: list[dict[str, Any]]) -> dict[str, Any]:
    return OutputText(text=text, logprobs=logprobs).model_dump()
