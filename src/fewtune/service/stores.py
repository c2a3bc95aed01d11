"""What the routes work with, in one value."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy import Engine

from fewtune.service.aliases import Names
from fewtune.service.judge import Judge
from fewtune.service.limits import Limits, Rate
from fewtune.service.settings import ServiceSettings
from fewtune.store.chat_completions import ChatCompletions
from fewtune.store.files import Files
from fewtune.store.jobs import Jobs
from fewtune.store.keys import Keys
from fewtune.store.models import Models
from fewtune.store.permissions import Permissions
from fewtune.store.uploads import Uploads


@dataclass(frozen=True, kw_only=True)
class Stores:
    """All of it is shared by every request."""

    settings: ServiceSettings
    limits: Limits
    names: Names
    creations: Rate
    keys: Keys
    files: Files
    uploads: Uploads
    jobs: Jobs
    models: Models
    permissions: Permissions
    chat_completions: ChatCompletions
    judge: Judge | None
    engine: Engine
    """Of the database that all of these are in."""
    open_streams: set[object] = field(default_factory=set[object])
    """One member for each stream of events that is being read."""


async def stores_of(request: Request) -> Stores:
    """Those of the app that answers the request."""
    return request.app.state.stores


StoresOf = Annotated[Stores, Depends(stores_of)]
