"""Who asks: every URL needs a key unless it is listed here."""

from __future__ import annotations

from typing import Annotated

import anyio.to_thread
from fastapi import Depends, Request
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from fewtune.service.errors import ServiceError, too_many
from fewtune.service.stores import StoresOf
from fewtune.store.keys import Caller, Keys

PUBLIC = frozenset({"/healthz", "/readyz", "/metrics", "/openapi.json"})
"""`/metrics` looks for itself who asks."""
_LONGEST_SECRET = 200


class Authentication:
    """Before any route is looked for: without a key nobody learns which URLs there are."""

    def __init__(self, app: ASGIApp, keys: Keys) -> None:
        self.app = app
        self.keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in PUBLIC:
            secret = _secret(Headers(scope=scope))
            caller = await anyio.to_thread.run_sync(self.keys.verify, secret)
            if caller is None:
                raise _refused("Incorrect API key provided. Keys are made with: fewtune keys create NAME")
            scope["state"]["caller"] = caller
        await self.app(scope, receive, send)


def _secret(headers: Headers) -> str:
    given = headers.getlist("authorization")
    kind, _, secret = given[0].partition(" ") if len(given) == 1 else ("", "", "")
    secret = secret.strip()
    if kind.lower() != "bearer" or not secret or len(secret) > _LONGEST_SECRET:
        raise _refused("You did not provide an API key. It goes into the header Authorization: Bearer YOUR_KEY.")
    return secret


def _refused(message: str) -> ServiceError:
    return ServiceError(401, message, code="invalid_api_key", headers={"www-authenticate": "Bearer"})


async def caller_of(request: Request) -> Caller:
    """Whose key the request came with."""
    return request.scope["state"]["caller"]


CallerOf = Annotated[Caller, Depends(caller_of)]


async def creator_of(caller: CallerOf, stores: StoresOf) -> Caller:
    """The caller, where its key has not made too much in the last minute."""
    seconds = stores.creations.take(caller.key_id)
    if seconds:
        raise too_many("This key creates too much at once.", seconds=seconds)
    return caller


CreatorOf = Annotated[Caller, Depends(creator_of)]


async def admin_of(caller: CallerOf) -> Caller:
    """The caller, where its key is an administrator's."""
    if not caller.admin:
        raise ServiceError(403, "This needs the key of an administrator.", code="insufficient_permissions")
    return caller


AdminOf = Annotated[Caller, Depends(admin_of)]
