"""Completions as they were before chat.

A tuned model gets the prompt in the frame that it was tuned in. A base that was not tuned goes on with the text as it
stands, which is what a completion of a base has always been.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from fewtune.providers.contract import Answer, Chunk
from fewtune.service.answer_stream import DONE, AnswerStream, event
from fewtune.service.answering import Begun, begin, choices_of, detail_of, gather
from fewtune.service.asked_model import AskedModel, find_model
from fewtune.service.auth import CallerOf
from fewtune.service.errors import ServiceError
from fewtune.service.stores import StoresOf
from fewtune.service.wire.chat import finish_reason
from fewtune.service.wire.completions import Completion, CompletionAsked, Offsets, completion_of
from fewtune.service.wire.sampling import STREAMED, told_headers, usage, whole

router = APIRouter(prefix="/completions", tags=["completions"])


@router.post("", response_model=Completion, responses=STREAMED)
async def create_completion(asked: CompletionAsked, http: Request, caller: CallerOf, stores: StoresOf) -> Response:
    """Go on with one or several prompts, whole or as a stream."""
    model = await find_model(asked.model, caller.project, stores)
    questions = asked.to_requests(stores.limits, framed=model.is_tuned)
    requests = [one for each in questions for one in choices_of(each, count=asked.count, seed=asked.seed)]
    headers = told_headers(model.headers, asked.ignored)
    identity, created = f"cmpl-{secrets.token_hex(12)}", int(time.time())
    if asked.stream:
        begun = await begin(http, model, requests)
        echoed = [one.prompt if asked.echo else "" for one in requests]
        chunks = _Chunks(asked, model, identity, created, echoed)
        return AnswerStream(chunks.events(begun), begun.asking.withdraw, headers)
    answers = await gather(http, model, requests)
    completion = completion_of(
        answers, id=identity, created=created, model=model.name, fingerprint=model.fingerprint, asked=asked
    )
    return JSONResponse(completion.model_dump(), headers=headers)


class _Chunks:
    """The events of one streamed completion; each looks like a whole one."""

    def __init__(
        self, asked: CompletionAsked, model: AskedModel, identity: str, created: int, echoed: Sequence[str]
    ) -> None:
        self._asked = asked
        self._head = {
            "id": identity,
            "object": "text_completion",
            "created": created,
            "model": model.name,
            "system_fingerprint": model.fingerprint,
        }
        self._echoed = dict(enumerate(echoed))
        self._offsets = [Offsets(text) for text in echoed]
        self._prompt_tokens = self._tokens = 0

    async def events(self, begun: Begun) -> AsyncIterator[bytes]:
        try:
            async for replies in begun.replies():
                yield b"".join(self._told(reply) for reply in replies)
        except ServiceError as error:
            yield event({"error": detail_of(error).model_dump()})
            return
        if self._asked.includes_usage:
            counted = usage(self._prompt_tokens, self._tokens).model_dump()
            yield event({**self._head, "choices": [], "usage": counted})
        yield DONE

    def _told(self, reply: Chunk | Answer) -> bytes:
        echoed = self._echoed.pop(reply.id, "")
        if isinstance(reply, Chunk):
            alternatives, offsets = self._asked.logprobs, self._offsets[reply.id]
            logprobs = None if alternatives is None else offsets.logprobs(reply.choices, alternatives)
            return self._chunk(reply.id, echoed + whole(reply.text), logprobs=logprobs)
        if reply.id % self._asked.count == 0:
            self._prompt_tokens += reply.prompt_tokens or 0
        self._tokens += reply.tokens
        return self._chunk(reply.id, echoed, finish=finish_reason(reply))

    def _chunk(
        self, place: int, text: str, *, logprobs: Mapping[str, Any] | None = None, finish: str | None = None
    ) -> bytes:
        choice = {"index": place, "text": text, "logprobs": logprobs, "finish_reason": finish}
        last = {"usage": None} if self._asked.includes_usage else {}
        return event({**self._head, "choices": [choice], **last})
