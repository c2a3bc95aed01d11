"""What an operator sees: a log line for each request, health, and Prometheus' numbers."""

from __future__ import annotations

import ipaddress
import logging
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from fastapi import APIRouter, Request, Response
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Engine, func, select, update
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fewtune.errors import FewtuneError
from fewtune.service.logs import telling
from fewtune.store.service_database import reading, writing
from fewtune.store.service_schema import jobs, versions

# When each of them was first seen is nobody's question.
disable_created_metrics()
log = logging.getLogger("fewtune.requests")


class Workers(Protocol):
    """The web's side of the workers, as far as it is observed."""

    tokens_read: int
    """Of prompts whose answers have ended."""
    tokens_written: int

    async def statuses(self) -> Sequence[Mapping[str, Any]]:
        """What each connected worker says of itself: `training` (job ids), `writing` and `waiting` (counts), ..."""
        ...


_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_PREFIX = "/v1"
_METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
"""A client may invent others, without end."""
_PROBES = ("/healthz", "/readyz", "/metrics")
_FORWARDED = (b"forwarded", b"x-forwarded-for", b"x-real-ip")


class Numbers:
    """Prometheus' numbers of the web process; those of jobs come from the database, so they outlive a restart."""

    def __init__(self, engine: Engine, folder: Path, workers: Workers) -> None:
        self.registry = CollectorRegistry()
        self.requests = self._counter("requests", "Requests by route, method and status.", "route", "method", "status")
        self.seconds = Histogram(
            "fewtune_request_seconds",
            "Seconds until the answer began.",
            ("route",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.in_flight = self._gauge("requests_in_flight", "Requests that are being answered.")
        self.workers = self._gauge("workers_connected", "Workers that answered when they were asked last.")
        self.training = self._gauge("jobs_training", "Jobs that workers train at the moment.")
        self.writing = self._gauge("answers_in_flight", "Answers that workers write at the moment.")
        self.waiting = self._gauge("answers_waiting", "Requests for an answer that wait for a place.")
        self.registry.register(_Kept(engine, folder, workers))

    def tell(self, statuses: Sequence[Mapping[str, Any]]) -> None:
        """Take note of what the workers say of themselves."""
        self.workers.set(len(statuses))
        self.training.set(sum(len(one.get("training", ())) for one in statuses))
        self.writing.set(sum(one.get("writing", 0) for one in statuses))
        self.waiting.set(sum(one.get("waiting", 0) for one in statuses))

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(f"fewtune_{name}", meaning, labels, registry=self.registry)

    def _gauge(self, name: str, meaning: str) -> Gauge:
        return Gauge(f"fewtune_{name}", meaning, registry=self.registry)


class _Kept(Collector):
    """Kept elsewhere anyway, and read when Prometheus asks."""

    def __init__(self, engine: Engine, folder: Path, workers: Workers) -> None:
        self._engine = engine
        self._folder = folder
        self._workers = workers

    def collect(self) -> Iterable[Metric]:
        counted = select(jobs.c.state, func.count(), func.coalesce(func.sum(jobs.c.trained_tokens), 0))
        with reading(self._engine) as connection:
            rows = connection.execute(counted.group_by(jobs.c.state)).all()
        by_state = GaugeMetricFamily("fewtune_jobs", "Jobs by state.", labels=("state",))
        for state, count, _ in rows:
            by_state.add_metric((state,), count)
        yield by_state
        trained = sum(int(tokens) for _, _, tokens in rows)
        yield GaugeMetricFamily("fewtune_trained_tokens", "Tokens trained by all jobs so far.", value=trained)
        written, read = self._workers.tokens_written, self._workers.tokens_read
        yield CounterMetricFamily("fewtune_sampled_tokens", "Tokens written in answers.", value=written)
        yield CounterMetricFamily("fewtune_prompt_tokens", "Tokens read in prompts.", value=read)
        free = shutil.disk_usage(self._folder).free
        yield GaugeMetricFamily("fewtune_disk_free_bytes", "Free where the service keeps its files.", value=free)


class Observed:
    """Counts and logs each request, whatever answers it: the outermost ASGI layer."""

    def __init__(self, app: ASGIApp, numbers: Numbers) -> None:
        self._app = app
        self._numbers = numbers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, answer = time.monotonic(), _Answer(send)
        self._numbers.in_flight.inc()
        try:
            await self._app(scope, receive, answer.send)
        finally:
            self._numbers.in_flight.dec()
            self._note(scope, answer, began)

    def _note(self, scope: Scope, answer: _Answer, began: float) -> None:
        route, ended = _route(scope), time.monotonic()
        # 499, as proxies write it: the client went away before there was an answer.
        status = answer.status or 499
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        self._numbers.requests.labels(route, method, str(status)).inc()
        self._numbers.seconds.labels(route).observe((answer.began or ended) - began)
        if route in _PROBES and status == 200:
            return
        caller = scope.get("state", {}).get("caller")
        told = telling(
            request=answer.request_id,
            method=method,
            route=route,
            status=status,
            ms=round((ended - began) * 1000),
            key=getattr(caller, "key_id", None),
            project=getattr(caller, "project", None),
        )
        log.log(logging.ERROR if status == 500 else logging.INFO, f"{method} {route}: {status}", extra=told)


class _Answer:
    """Passes an answer on and remembers how it began."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status: int | None = None
        self.began: float | None = None
        self.request_id: str | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status, self.began = message["status"], time.monotonic()
            headers: dict[bytes, bytes] = dict(message.get("headers", ()))
            self.request_id = headers.get(b"x-request-id", b"").decode("latin-1") or None
        await self._send(message)


def _route(scope: Scope) -> str:
    """As it was declared, such as `/v1/files/{file_id}`: what stands in a path is the client's and unbounded."""
    declared: str | None = getattr(scope.get("route"), "path", None)
    if declared is None:
        return "unmatched"
    # FastAPI leaves out the prefix under which a router was included.
    prefix = _PREFIX if scope["path"].startswith(f"{_PREFIX}/") and not declared.startswith(f"{_PREFIX}/") else ""
    return prefix + declared


def probes(engine: Engine, numbers: Numbers, workers: Workers, verify: Callable[[str], object | None]) -> APIRouter:
    """`/healthz`, `/readyz` and `/metrics`; `verify` says whether a secret is that of a key."""
    router = APIRouter(include_in_schema=False)

    @router.get("/healthz")
    async def healthz() -> dict[str, str]:  # pyright: ignore[reportUnusedFunction]
        return {"status": "ok"}

    @router.get("/readyz")
    async def readyz(response: Response) -> dict[str, Any]:  # pyright: ignore[reportUnusedFunction]
        database, connected = await run_in_threadpool(_is_writable, engine), len(await workers.statuses())
        ready = database and connected > 0
        response.status_code = 200 if ready else 503
        return {"status": "ok" if ready else "unavailable", "database": database, "workers": connected}

    @router.get("/metrics")
    async def metrics(request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        if not (_is_local(request.scope) or await run_in_threadpool(_has_key, request, verify)):
            return Response("Send a key: Authorization: Bearer …\n", status_code=401, media_type="text/plain")
        numbers.tell(await workers.statuses())
        return Response(await run_in_threadpool(generate_latest, numbers.registry), media_type=CONTENT_TYPE_LATEST)

    return router


def _is_writable(engine: Engine) -> bool:
    """Whether a write is kept, which is more than that the database answers: the disk may be full."""
    try:
        with writing(engine) as connection:
            connection.execute(update(versions).values(applied_at=versions.c.applied_at))
    except (FewtuneError, SQLAlchemyError):
        return False
    return True


def _is_local(scope: Scope) -> bool:
    """Whether it came from this machine and, as far as headers tell, not through a proxy on it."""
    if any(name in _FORWARDED for name, _ in scope["headers"]):
        return False
    try:
        return ipaddress.ip_address((scope.get("client") or ("",))[0]).is_loopback
    except ValueError:
        return False


def _has_key(request: Request, verify: Callable[[str], object | None]) -> bool:
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    return scheme.lower() == "bearer" and verify(secret.strip()) is not None
