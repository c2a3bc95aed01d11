"""What a request is refused with, and what its caller makes of that."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fewtune.errors import BaseModelError, DataError, FewtuneError, ProviderError, UsageError
from fewtune.providers.contract import Answer, Capabilities, Chunk, Refusal, RefusalCode, Reply, Request, Score

_ERRORS: dict[RefusalCode, type[FewtuneError]] = {
    "model_not_found": UsageError,
    "model_unusable": BaseModelError,
    "context_length_exceeded": DataError,
    "invalid_prompt": DataError,
    "invalid_schema": DataError,
    "unsupported": ProviderError,
}


def refusal(request: Request, code: RefusalCode, error: FewtuneError) -> Refusal:
    """Without the error's place: that is a path on this machine."""
    return Refusal(id=request.id, code=code, text=error.what, fix=error.fix, scored=request.score is not None)


def without_model(request: Request, error: UsageError | BaseModelError) -> Refusal:
    """Of a request whose model is not there, or not what it was."""
    return refusal(request, "model_not_found" if isinstance(error, UsageError) else "model_unusable", error)


def unable(request: Request, capabilities: Capabilities) -> Refusal | None:
    """The refusal of what the provider cannot do for any request, from its capabilities alone."""
    can = capabilities
    schema = request.json is not None and request.json != "object"
    missing = (
        "answer with several models at once"
        if request.model is not None and not can.can_mix
        else "continue a text without the base's frame"
        if not request.framed and not can.can_continue
        else "tell log-likelihoods"
        if request.alternatives is not None and not can.tells_choices
        else "hold an answer to JSON"
        if request.json is not None and can.constrains is None
        else "hold an answer to a JSON Schema"
        if schema and can.constrains != "schema"
        else None
    )
    return missing and refusal(request, "unsupported", ProviderError(f"This provider cannot {missing}."))


def answered(replies: Iterable[Reply]) -> Iterator[Chunk | Answer | Score]:
    """The same replies; a refusal is raised as the error that it was."""
    for reply in replies:
        if isinstance(reply, Refusal):
            raise _ERRORS[reply.code](reply.text, fix=reply.fix)
        yield reply
