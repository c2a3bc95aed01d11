"""Chat over HTTP beside the engine alone: 32 streams over 8 adapters, `python -m bench.service_chat`.

The same prompts go to the provider, all at once and one by one, and through the service by a client that does as
little as it can. Its own CPU, and that of the web process and the worker, are told apart: where all of them share the
cores, what the client takes is no fault of the service's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import report
from bench.child import ROOT, cores, environment, measure
from bench.job import ALPHA, LEARNING_RATE, RANK
from bench.rows import add_data_option, require
from fewtune.bases.folder import BUILT_IN
from fewtune.data.read import read
from fewtune.service.settings import VARIABLE, ServiceSettings
from fewtune.store.keys import Keys
from fewtune.store.models import Models
from fewtune.store.service_database import open_service_database

if TYPE_CHECKING:
    from fewtune.providers.contract import Request

STREAMS, ADAPTERS = 32, 8
_TOKENS = re.compile(rb'"completion_tokens":(\d+)')
_SECONDS_TO_START = 120


@dataclass(frozen=True, kw_only=True)
class ChatJob:
    folder: str
    """The service's; its models are the adapters."""
    prompts: Sequence[str]
    rounds: int
    """How many questions each stream asks, one after another."""
    max_tokens: int


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    require(options.data)
    prompts = [example.prompt for example in read(str(options.data)).examples[:STREAMS]]
    with tempfile.TemporaryDirectory() as folder:
        job = ChatJob(folder=folder, prompts=prompts, rounds=options.rounds, max_tokens=options.max_tokens)
        measure("bench.service_chat:make_adapters", asdict(job))
        found: dict[str, list[dict[str, Any]]] = {}
        for _ in range(options.repeats):
            for name, function in (("engine, all at once", "engine_list"), ("engine, as they come", "engine_live")):
                found.setdefault(name, []).append(measure(f"bench.service_chat:{function}", asdict(job)))
            found.setdefault("through HTTP", []).append(over_http(job))
            print({name: round(_rate(one[-1])) for name, one in found.items()}, file=sys.stderr, flush=True)
    _show(found)
    report.write("service_chat", {"base": BUILT_IN, "measured": found})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.service_chat", description=__doc__)
    add_data_option(parser)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=2, help="questions of each stream, one after another")
    parser.add_argument("--max-tokens", type=int, default=128)
    return parser


def _show(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Rates are medians; the share is that of the engine that gets its prompts as they come."""
    engine = statistics.median(map(_rate, found["engine, as they come"]))
    lines = [
        (
            name,
            f"{statistics.median(map(_rate, measured)):,.0f}",
            f"{statistics.median(map(_rate_without_client, measured)):,.0f}",
            f"{statistics.median(map(_rate_without_client, measured)) / engine:.0%}",
            " ".join(f"{part} {seconds:.1f}" for part, seconds in measured[-1]["cpu"].items()),
            f"{max(one.get('first_p95', 0) for one in measured):.2f}",
        )
        for name, measured in found.items()
    ]
    headings = ("way", "tokens/s", "without the client's CPU", "of the engine", "CPU-s", "first token, p95, s")
    report.show(headings, lines)


def _rate(measured: Mapping[str, Any]) -> float:
    return measured["tokens"] / measured["seconds"]


def _rate_without_client(measured: Mapping[str, Any]) -> float:
    """Had the client run elsewhere, its share of the cores would have been free."""
    return measured["tokens"] / (measured["seconds"] - measured["cpu"].get("client", 0.0) / cores())


def make_adapters(job: Mapping[str, Any]) -> dict[str, Any]:
    """New ones: they say what the base says, at the price of any adapter; in a child."""
    from fewtune.engine.adapter_folder import save
    from fewtune.engine.base_model import load
    from fewtune.engine.training import Task, begin
    from fewtune.types import Plan

    base, folder = load(BUILT_IN), Path(job["folder"])
    models = Models(open_service_database(folder / "service.db"), folder)
    plan = Plan(learning_rate=LEARNING_RATE, rank=RANK, alpha=ALPHA)
    for number in range(ADAPTERS):
        name = _model(number)
        models.place(name).mkdir(parents=True)
        save(begin(base, Task(plan=plan, seed=number, train=(), valid=())).adapter, models.place(name), base)
        models.add(name=name, project="default", base=BUILT_IN, kind="tuned")
    return {}


def engine_list(job: Mapping[str, Any]) -> dict[str, Any]:
    """The provider with all of a round's prompts as a list, which it deals out over the cores; in a child."""
    return _engine(ChatJob(**job), lambda requests: requests)


def engine_live(job: Mapping[str, Any]) -> dict[str, Any]:
    """The provider with an iterator, as the service has to ask it; in a child."""
    return _engine(ChatJob(**job), iter)


def _engine(job: ChatJob, given: Any) -> dict[str, Any]:
    from bench.device import Clock
    from fewtune.providers.contract import BASE, Answer, Workspace
    from fewtune.providers.local import LocalProvider

    folder = Path(job.folder)
    models = Models(open_service_database(folder / "service.db"), folder)
    adapters = {_model(number): models.place(_model(number)) for number in range(ADAPTERS)}
    provider = LocalProvider(Workspace(base=BUILT_IN, examples={}, folder=folder / "bench", adapters=adapters))
    list(provider.sample(BASE, given(_requests(job, job.prompts[:ADAPTERS]))))
    clock, tokens = Clock(), 0
    for _ in range(job.rounds):
        replies = provider.sample(BASE, given(_requests(job, job.prompts)))
        tokens += sum(reply.tokens for reply in replies if isinstance(reply, Answer))
    read = clock.read()
    return {"tokens": tokens, "seconds": read["seconds"], "cpu": {"engine": read["cpu_seconds"]}}


def _requests(job: ChatJob, prompts: Sequence[str]) -> list[Request]:
    from fewtune.providers.contract import Request

    return [
        Request(id=n, prompt=prompt, max_tokens=job.max_tokens, model=_model(n)) for n, prompt in enumerate(prompts)
    ]


def _model(number: int) -> str:
    return f"ft:pocket:bench::{number % ADAPTERS}"


def over_http(job: ChatJob) -> dict[str, Any]:
    """A web process and a worker, and this process as their client."""
    settings = ServiceSettings(folder=Path(job.folder), port=0)
    key = Keys(open_service_database(settings.store)).create(f"bench {time.time()}")[1]
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        variables = {**environment(), VARIABLE: settings.to_json()}
        web = [sys.executable, "-m", "fewtune.service.web", f"--socket={listening.fileno()}"]
        worker = [sys.executable, "-m", "fewtune.service.worker"]
        processes = {
            "web": subprocess.Popen(
                web, cwd=ROOT, env=variables, pass_fds=[listening.fileno()], stderr=subprocess.DEVNULL
            ),
            "worker": subprocess.Popen(worker, cwd=ROOT, env=variables, stderr=subprocess.DEVNULL),
        }
        try:
            return asyncio.run(_measured(job, port, key, {name: one.pid for name, one in processes.items()}))
        finally:
            for process in processes.values():
                process.terminate()
            for process in processes.values():
                process.wait()


async def _measured(job: ChatJob, port: int, key: str, pids: Mapping[str, int]) -> dict[str, Any]:
    await _until_warm(job, port, key)
    before, began, own = (
        {name: _cpu_seconds(pid) for name, pid in pids.items()},
        time.perf_counter(),
        time.process_time(),
    )
    streams = (_stream(job, port, key, number) for number in range(len(job.prompts)))
    asked = [answer for answers in await asyncio.gather(*streams) for answer in answers]
    seconds = time.perf_counter() - began
    cpu = {name: _cpu_seconds(pid) - before[name] for name, pid in pids.items()}
    return {
        "tokens": sum(tokens for tokens, _ in asked),
        "seconds": seconds,
        "cpu": {**cpu, "client": time.process_time() - own},
        "first_p95": statistics.quantiles([first for _, first in asked], n=20)[-1],
    }


async def _until_warm(job: ChatJob, port: int, key: str) -> None:
    """Every adapter has been read once."""
    async with asyncio.timeout(_SECONDS_TO_START):
        for number in range(ADAPTERS):
            while not (await _ask(job, port, key, number))[0]:
                await asyncio.sleep(0.2)


async def _stream(job: ChatJob, port: int, key: str, number: int) -> list[tuple[int, float]]:
    return [await _ask(job, port, key, number) for _ in range(job.rounds)]


async def _ask(job: ChatJob, port: int, key: str, number: int) -> tuple[int, float]:
    """Tokens of a streamed answer, and the seconds to the first of them."""
    body = json.dumps(
        {
            "model": _model(number),
            "messages": [{"role": "user", "content": job.prompts[number]}],
            "max_tokens": job.max_tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n"
    head += f"Authorization: Bearer {key}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    began, first, told = time.perf_counter(), 0.0, b""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head.encode() + body)
    while piece := await reader.read(65536):
        if not first and piece.count(b"data: ") > 1:
            first = time.perf_counter() - began
        told = told[-1000:] + piece
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
    found = _TOKENS.search(told)
    return int(found.group(1)) if found else 0, first or time.perf_counter() - began


def _cpu_seconds(pid: int) -> float:
    """Of a process and all below it that live."""
    import psutil

    process = psutil.Process(pid)
    family = [process, *process.children(recursive=True)]
    return sum(sum(one.cpu_times()[:2]) for one in family)


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
