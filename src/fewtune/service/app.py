"""The web process's application; what trains and samples is another process."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi

from fewtune import __version__
from fewtune.service import errors
from fewtune.service.aliases import Names
from fewtune.service.auth import PUBLIC, Authentication
from fewtune.service.conformance import FixedIds, conformant
from fewtune.service.guard import Bodies, Guard
from fewtune.service.judge import Judge
from fewtune.service.limits import Limits, Rate
from fewtune.service.observing import Numbers, Observed, probes
from fewtune.service.routes import (
    chat,
    completions,
    files,
    graders,
    jobs,
    kept_chat,
    models,
    permissions,
    responses,
    unsupported,
    uploads,
)
from fewtune.service.settings import ServiceSettings
from fewtune.service.stores import Stores
from fewtune.service.wire.shared import ERRORS
from fewtune.service.worker.address import worker_socket
from fewtune.service.worker_client import Workers
from fewtune.store.chat_completions import ChatCompletions
from fewtune.store.files import Files
from fewtune.store.jobs import Jobs
from fewtune.store.keys import Keys
from fewtune.store.models import Models
from fewtune.store.permissions import Permissions
from fewtune.store.service_database import open_service_database
from fewtune.store.uploads import Uploads

_RESOURCES = (files, uploads, jobs, permissions, graders, models, chat, kept_chat, completions, responses, unsupported)
ROUTERS = tuple(part.router for part in _RESOURCES)
"""All that is answered under /v1."""


def create_app(settings: ServiceSettings) -> FastAPI:
    """Opens the database. Raises UsageError where that or a limit cannot be used.

    `app.state.stores` is what routes work with; `app.state.wake` is awaited when a job was made or changed.
    """
    stores = open_stores(settings)
    return app_over(conformant(stores) if settings.conformance else stores)


def open_stores(settings: ServiceSettings) -> Stores:
    """All that routes work with, over the database and the folder of the settings."""
    engine = open_service_database(settings.store)
    limits = Limits.changed(settings.limits)
    return Stores(
        settings=settings,
        limits=limits,
        names=Names(bases=settings.all_bases, chosen=settings.aliases, openai=settings.openai_names),
        creations=Rate(per_minute=limits.creations_per_minute),
        keys=Keys(engine),
        files=Files(engine, settings.folder),
        uploads=Uploads(engine, settings.folder, part_bytes=limits.part_bytes, upload_bytes=limits.upload_bytes),
        jobs=Jobs(engine),
        models=Models(engine, settings.folder),
        permissions=Permissions(engine),
        chat_completions=ChatCompletions(engine),
        judge=Judge.from_environment(),
        engine=engine,
    )


def app_over(stores: Stores) -> FastAPI:
    """The application over stores that are open."""
    settings = stores.settings
    app = _Service(
        title="fewtune",
        version=__version__,
        description="OpenAI's fine-tuning API over models that are tuned and answer on this machine.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_lifespan,
    )
    app.state.stores = stores
    app.state.workers = Workers([worker_socket(settings.folder, number) for number in range(settings.workers)])
    app.state.wake = app.state.workers.wake
    errors.install(app)
    v1 = APIRouter(prefix="/v1", responses=ERRORS)
    for router in ROUTERS:
        v1.include_router(router)
    app.include_router(v1)
    numbers = Numbers(stores.engine, settings.folder, app.state.workers)
    app.include_router(probes(stores.engine, numbers, app.state.workers, stores.keys.verify))
    # The last that is added meets a request first.
    if stores.settings.conformance:
        app.add_middleware(FixedIds, stores=stores)
    app.add_middleware(Bodies, limits=stores.limits)
    app.add_middleware(Authentication, keys=stores.keys)
    app.add_middleware(Guard, settings=settings)
    app.add_middleware(Observed, numbers=numbers)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncGenerator[None]:
    async with app.state.workers:
        yield


class _Service(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """FastAPI's description without its own form of errors, which is not answered here."""
        if self.openapi_schema is None:
            described = get_openapi(
                title=self.title, version=self.version, description=self.description, routes=self.routes
            )
            for path, methods in described["paths"].items():
                for operation in methods.values():
                    operation["responses"].pop("422", None)
                    operation["security"] = [] if path in PUBLIC else [{"key": []}]
            components = described.setdefault("components", {})
            for name in ("HTTPValidationError", "ValidationError"):
                components.get("schemas", {}).pop(name, None)
            components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
            self.openapi_schema = described
        return self.openapi_schema
