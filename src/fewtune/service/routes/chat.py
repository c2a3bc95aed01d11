"""Chat completions."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Mapping
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
from fewtune.service.wire.chat import ChatAsked, ChatCompletion, completion_of, finish_reason
from fewtune.service.wire.sampling import STREAMED, token_logprobs, told_headers, usage, whole

router = APIRouter(prefix="/chat/completions", tags=["chat"])


@router.post("", response_model=ChatCompletion, responses=STREAMED)
async def create_chat_completion(asked: ChatAsked, http: Request, caller: CallerOf, stores: StoresOf) -> Response:
    """Answer a conversation, whole or as a stream of chunks."""
    model = await find_model(asked.model, caller.project, stores)
    requests = choices_of(asked.to_request(stores.limits), count=asked.count, seed=asked.seed)
    headers = told_headers(model.headers, asked.ignored)
    identity, created = f"chatcmpl-{secrets.token_hex(12)}", int(time.time())
    if asked.stream:
        begun = await begin(http, model, requests)
        chunks = _Chunks(asked, model, identity, created)
        return AnswerStream(chunks.events(begun), begun.asking.withdraw, headers)
    answers = await gather(http, model, requests)
    completion = completion_of(
        answers, id=identity, created=created, model=model.name, fingerprint=model.fingerprint, asked=asked
    )
    return JSONResponse(completion.model_dump(exclude={"metadata"} if not asked.store else None), headers=headers)


class _Chunks:
    """The events of one streamed answer: small dicts, since there is one for each token."""

    def __init__(self, asked: ChatAsked, model: AskedModel, identity: str, created: int) -> None:
        self._asked = asked
        self._head = {
            "id": identity,
            "object": "chat.completion.chunk",
            "created": created,
            "model": model.name,
            "service_tier": "default",
            "system_fingerprint": model.fingerprint,
        }
        self._begun: set[int] = set()
        self._prompt_tokens = self._tokens = 0

    async def events(self, begun: Begun) -> AsyncIterator[bytes]:
        try:
            async for replies in begun.replies():
                yield b"".join(part for reply in replies for part in self._told(reply))
        except ServiceError as error:
            yield event({"error": detail_of(error).model_dump()})
            return
        if self._asked.includes_usage:
            counted = usage(self._prompt_tokens, self._tokens).model_dump()
            yield event({**self._head, "choices": [], "usage": counted})
        yield DONE

    def _told(self, reply: Chunk | Answer) -> list[bytes]:
        parts: list[bytes] = []
        if reply.id not in self._begun:
            self._begun.add(reply.id)
            parts.append(self._chunk(reply.id, {"role": "assistant", "content": "", "refusal": None}))
        if isinstance(reply, Chunk):
            logprobs = {"content": token_logprobs(reply.choices), "refusal": None} if self._asked.logprobs else None
            parts.append(self._chunk(reply.id, {"content": whole(reply.text)}, logprobs=logprobs))
        else:
            self._prompt_tokens = reply.prompt_tokens or 0
            self._tokens += reply.tokens
            parts.append(self._chunk(reply.id, {}, finish=finish_reason(reply)))
        return parts

    def _chunk(self, place: int, delta: Mapping[str, Any], *, logprobs: Any = None, finish: str | None = None) -> bytes:
        choice = {"index": place, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        last = {"usage": None} if self._asked.includes_usage else {}
        return event({**self._head, "choices": [choice], **last})
