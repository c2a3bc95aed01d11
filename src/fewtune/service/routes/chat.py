"""Chat completions."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from fewtune.providers.contract import Answer, Chunk, TokenChoice
from fewtune.service.answer_stream import DONE, AnswerStream, event
from fewtune.service.answering import Begun, begin, choices_of, detail_of, gather
from fewtune.service.asked_model import AskedModel, find_model
from fewtune.service.auth import CallerOf
from fewtune.service.errors import ServiceError
from fewtune.service.stores import StoresOf
from fewtune.service.wire.chat import ChatAsked, ChatCompletion, completion_of, finish_reason, kept
from fewtune.service.wire.sampling import STREAMED, token_logprobs, told_headers, whole

router = APIRouter(prefix="/chat/completions", tags=["chat"])


@router.post("", response_model=ChatCompletion, responses=STREAMED)
async def create_chat_completion(asked: ChatAsked, http: Request, caller: CallerOf, stores: StoresOf) -> Response:
    """Answer a conversation, whole or as a stream of chunks."""
    model = await find_model(asked.model, caller.project, stores)
    requests = choices_of(asked.to_request(stores.limits), count=asked.count, seed=asked.seed)
    headers = told_headers(model.headers, asked.ignored)
    identity, created = f"chatcmpl-{secrets.token_hex(12)}", int(time.time())

    async def completed(answers: list[Answer]) -> ChatCompletion:
        completion = completion_of(
            answers, id=identity, created=created, model=model.name, fingerprint=model.fingerprint, asked=asked
        )
        if asked.store:
            await run_sync(stores.chat_completions.add, kept(completion, asked, caller.project))
        return completion

    if asked.stream:
        begun = await begin(http, model, requests)
        chunks = _Chunks(asked, model, identity, created)
        return AnswerStream(chunks.events(begun, completed), begun.asking.withdraw, headers)
    completion = await completed(await gather(http, model, requests))
    return JSONResponse(completion.model_dump(exclude=None if asked.store else {"metadata"}), headers=headers)


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
        self._choices: dict[int, list[TokenChoice]] = {}
        self._answers: dict[int, Answer] = {}

    async def events(
        self, begun: Begun, completed: Callable[[list[Answer]], Awaitable[ChatCompletion]]
    ) -> AsyncIterator[bytes]:
        """`completed` makes the whole of the answers, once they are all there."""
        try:
            async for replies in begun.replies():
                yield b"".join(part for reply in replies for part in self._told(reply))
        except ServiceError as error:
            yield event({"error": detail_of(error).model_dump()})
            return
        completion = await completed([self._answers[place] for place in range(self._asked.count)])
        if self._asked.includes_usage:
            yield event({**self._head, "choices": [], "usage": completion.usage.model_dump()})
        yield DONE

    def _told(self, reply: Chunk | Answer) -> list[bytes]:
        parts: list[bytes] = []
        if reply.id not in self._choices:
            self._choices[reply.id] = []
            parts.append(self._chunk(reply.id, {"role": "assistant", "content": "", "refusal": None}))
        choices = self._choices[reply.id]
        if isinstance(reply, Chunk):
            choices.extend(reply.choices)
            logprobs = {"content": token_logprobs(reply.choices), "refusal": None} if self._asked.logprobs else None
            parts.append(self._chunk(reply.id, {"content": whole(reply.text)}, logprobs=logprobs))
        else:
            self._answers[reply.id] = replace(reply, choices=tuple(choices))
            parts.append(self._chunk(reply.id, {}, finish=finish_reason(reply)))
        return parts

    def _chunk(self, place: int, delta: Mapping[str, Any], *, logprobs: Any = None, finish: str | None = None) -> bytes:
        choice = {"index": place, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        last = {"usage": None} if self._asked.includes_usage else {}
        return event({**self._head, "choices": [choice], **last})
