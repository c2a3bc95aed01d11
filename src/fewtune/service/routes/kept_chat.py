"""Chat completions that were kept, since `store` was true."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request

from fewtune.service.auth import CallerOf
from fewtune.service.errors import ServiceError, not_found
from fewtune.service.metadata_filter import wanted_metadata
from fewtune.service.stores import StoresOf
from fewtune.service.wire.chat import (
    ChatCompletion,
    ChatCompletionDeleted,
    ChatMetadata,
    KeptMessage,
    kept_completion,
    kept_messages,
)
from fewtune.service.wire.shared import After, Limit, Listed, Order, listed

router = APIRouter(prefix="/chat/completions", tags=["chat"])


@router.get("")
def list_chat_completions(
    request: Request,
    caller: CallerOf,
    stores: StoresOf,
    model: Annotated[str | None, Query(max_length=400)] = None,
    after: After = None,
    limit: Limit = 20,
    order: Order = "asc",
) -> Listed[ChatCompletion]:
    """Those that the project has kept; `metadata[KEY]=VALUE` leaves those that have it."""
    page = stores.chat_completions.list(
        caller.project, model=model, metadata=wanted_metadata(request), after=after, limit=limit, order=order
    )
    return listed([kept_completion(record) for record in page.items], has_more=page.has_more)


@router.get("/{completion_id}")
def get_chat_completion(completion_id: str, caller: CallerOf, stores: StoresOf) -> ChatCompletion:
    """One that was kept."""
    record = stores.chat_completions.get(caller.project, completion_id)
    if record is None:
        raise _missing(completion_id)
    return kept_completion(record)


@router.post("/{completion_id}")
def change_chat_completion(
    completion_id: str, asked: ChatMetadata, request: Request, caller: CallerOf, stores: StoresOf
) -> ChatCompletion:
    """Put other metadata in the place of what it has."""
    record = stores.chat_completions.change_metadata(caller.project, completion_id, asked.metadata or {})
    if record is None:
        raise _missing(completion_id)
    request.scope["state"]["committed"] = True
    return kept_completion(record)


@router.delete("/{completion_id}")
def delete_chat_completion(completion_id: str, caller: CallerOf, stores: StoresOf) -> ChatCompletionDeleted:
    """Forget it, and what was asked."""
    if not stores.chat_completions.delete(caller.project, completion_id):
        raise _missing(completion_id)
    return ChatCompletionDeleted(id=completion_id)


@router.get("/{completion_id}/messages")
def list_messages(
    completion_id: str, caller: CallerOf, stores: StoresOf, after: After = None, limit: Limit = 20, order: Order = "asc"
) -> Listed[KeptMessage]:
    """The turns that were answered."""
    record = stores.chat_completions.get(caller.project, completion_id)
    if record is None:
        raise _missing(completion_id)
    messages = kept_messages(record)[:: 1 if order == "asc" else -1]
    first = next((place for place, message in enumerate(messages, 1) if message.id == after), 0)
    return listed(messages[first : first + limit], has_more=len(messages) > first + limit > first)


def _missing(completion_id: str) -> ServiceError:
    return not_found("chat completion, or it was not kept (see 'store')", completion_id, param="completion_id")
