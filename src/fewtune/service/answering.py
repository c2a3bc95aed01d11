"""From a question to its answers: asked of the workers, gathered or streamed, refusals as HTTP knows them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace

from fastapi import Request as HttpRequest

from fewtune.providers.contract import Answer, Chunk, Request, TokenChoice
from fewtune.service.answer_stream import while_there
from fewtune.service.asked_model import AskedModel
from fewtune.service.errors import ErrorDetail, ServiceError, invalid, too_many, unavailable
from fewtune.service.wire.sampling import seeds
from fewtune.service.worker.protocol import Refused
from fewtune.service.worker_client import Asking, Reply, Workers


@dataclass(frozen=True, kw_only=True)
class Begun:
    """An answer that has begun: the first replies, and where the others come from."""

    first: Sequence[Chunk | Answer]
    asking: Asking

    async def replies(self) -> AsyncIterator[Sequence[Chunk | Answer]]:
        """All of them, as they come. Raises ServiceError where a worker refuses in the middle."""
        yield self.first
        async for replies in self.asking:
            yield _answered(replies)


def choices_of(request: Request, *, count: int, seed: int | None) -> list[Request]:
    """The same question so many times, each with a seed of its own."""
    return [replace(request, seed=one) for one in seeds(seed, count)]


async def begin(http: HttpRequest, model: AskedModel, requests: Sequence[Request]) -> Begun:
    """Ask, and wait for the first reply, so that what cannot be answered has the right status.

    Raises ServiceError for a refusal, ClientDisconnect where the client goes before there is a reply.
    """
    asking = _workers(http).ask(model.model, requests)
    try:
        first = await while_there(http.receive, _next(asking))
        return Begun(first=_answered(first), asking=asking)
    except BaseException:
        asking.withdraw()
        raise


async def gather(http: HttpRequest, model: AskedModel, requests: Sequence[Request]) -> list[Answer]:
    """The whole answers, in the order of the questions. Raises as `begin` does."""
    async with _workers(http).ask(model.model, requests) as asking:
        return await while_there(http.receive, _gathered(asking, len(requests)))


def detail_of(error: ServiceError) -> ErrorDetail:
    """As it is told in the middle of a stream."""
    return ErrorDetail(message=error.message, type=error.type, param=error.param, code=error.code)


def _workers(http: HttpRequest) -> Workers:
    return http.app.state.workers


async def _next(asking: Asking) -> list[Reply]:
    return await anext(asking)


async def _gathered(asking: Asking, count: int) -> list[Answer]:
    """With the choices that came with the pieces."""
    found: dict[int, Answer] = {}
    choices: dict[int, list[TokenChoice]] = {place: [] for place in range(count)}
    async for replies in asking:
        for reply in _answered(replies):
            if isinstance(reply, Answer):
                found[reply.id] = replace(reply, choices=tuple(choices[reply.id]))
            else:
                choices[reply.id].extend(reply.choices)
    return [found[place] for place in range(count)]


def _answered(replies: Sequence[Reply]) -> list[Chunk | Answer]:
    answered: list[Chunk | Answer] = []
    for reply in replies:
        if isinstance(reply, Refused):
            raise _error(reply)
        answered.append(reply)
    return answered


def _error(refused: Refused) -> ServiceError:
    code, text = refused.code, refused.text
    if code == "busy":
        return too_many(text, seconds=0.5)
    if code in ("no_worker", "worker_lost"):
        return unavailable(text, seconds=0.5)
    if code == "model_not_found":
        return ServiceError(404, text, param="model", code=code)
    if code in ("context_length_exceeded", "invalid_prompt", "invalid_schema", "unsupported", "bad_request"):
        return invalid(text, code=code)
    # Damaged, or not foreseen: asking again changes nothing.
    return ServiceError(500, text, type="server_error", code=code, headers={"x-should-retry": "false"})
