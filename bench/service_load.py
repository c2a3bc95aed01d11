"""The service under many clients while it trains: `python -m bench.service_load`.

The same job is trained twice, alone and while clients read. They do so over raw sockets that stay open, so that what
asks takes little; what it takes all the same is taken off the time of the second training.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from openai import OpenAI
from openai.types.fine_tuning import FineTuningJob

from bench import report
from bench.child import cores

_ENDED = ("succeeded", "failed", "cancelled")
_SAMPLES = 12


@dataclass(kw_only=True)
class Readings:
    """What the clients saw."""

    seconds: list[float] = field(default_factory=list[float])
    statuses: Counter[int] = field(default_factory=Counter[int])
    broken: int = 0
    """Connections that ended without an answer."""


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    with tempfile.TemporaryDirectory() as home:
        process, told = _serve(Path(home))
        try:
            found = _measured(told, process.pid, options)
        finally:
            process.terminate()
            process.wait()
    _show(found, options)
    report.write("service_load", found)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.service_load", description=__doc__)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument(
        "--rate", type=float, default=50.0, help="requests a second of all clients; 0: as fast as it goes"
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="about how long the job trains")
    return parser


def _serve(home: Path) -> tuple[subprocess.Popen[str], dict[str, Any]]:
    command = [sys.executable, "-m", "fewtune", "serve", "--json", "--port", "0"]
    variables = {**os.environ, "FEWTUNE_HOME": str(home)}
    log = (home / "log").open("w", encoding="utf-8")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env=variables, text=True)
    assert process.stdout
    return process, json.loads(process.stdout.readline())


def _measured(told: dict[str, Any], supervisor: int, options: argparse.Namespace) -> dict[str, Any]:
    with OpenAI(base_url=told["address"], api_key=told["key"]) as client:
        file = client.files.create(file=("rows.jsonl", _rows()), purpose="fine-tune").id
        short, _ = _train(client, file, 1)
        once, _ = _train(client, file, 3)
        epochs = max(2, min(50, round(options.seconds / max(0.05, (once - short) / 2))))
        alone, steps = _train(client, file, epochs)
        job = _create(client, file, epochs)
        began, cpu, web = time.monotonic(), time.process_time(), _web_cpu(supervisor)
        readings = asyncio.run(_read(told, job.id, options))
        ended = _wait(client, job.id)
        together, spent = time.monotonic() - began, time.process_time() - cpu
        answering = _web_cpu(supervisor) - web
        idle = _sampled(client, str(ended.fine_tuned_model))
    own = spent / cores()
    return {
        "clients": options.clients,
        "rate": options.rate,
        "epochs": epochs,
        "steps": steps,
        "alone_seconds": alone,
        "together_seconds": together,
        "generator_cpu_seconds": spent,
        "web_cpu_seconds": answering,
        "slowed": (together - own) / alone - 1,
        "requests": len(readings.seconds),
        "statuses": {str(status): count for status, count in sorted(readings.statuses.items())},
        "broken": readings.broken,
        "p50": statistics.median(readings.seconds),
        "p99": statistics.quantiles(readings.seconds, n=100)[98],
        "slowest": max(readings.seconds),
        "answer_seconds": idle,
        "load": os.getloadavg(),
    }


def _web_cpu(supervisor: int) -> float:
    """CPU seconds of the web process so far; unlike the time that training takes, others on the machine change it
    little."""
    for child in psutil.Process(supervisor).children():
        if "fewtune.service.web" in child.cmdline():
            times = child.cpu_times()
            return times.user + times.system
    raise RuntimeError("there is no web process")


def _rows() -> bytes:
    draw = random.Random(7)
    things, places = ("parcel", "lamp", "rug", "sofa", "clock", "mirror"), ("hall", "yard", "van", "shop")
    lines: list[str] = []
    for number in range(200):
        thing, place = draw.choice(things), draw.choice(places)
        turns = [("user", f"Where is {thing} {number}?"), ("assistant", f"The {thing} {number} is in the {place}.")]
        lines.append(json.dumps({"messages": [{"role": role, "content": text} for role, text in turns]}))
    return ("\n".join(lines) + "\n").encode()


def _create(client: OpenAI, file: str, epochs: int) -> FineTuningJob:
    hyperparameters: Any = {"n_epochs": epochs, "batch_size": 8}
    method: Any = {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}
    return client.fine_tuning.jobs.create(training_file=file, model="pocket", method=method, seed=1)


def _train(client: OpenAI, file: str, epochs: int) -> tuple[float, int]:
    """Seconds from the request to the end, and steps."""
    began = time.monotonic()
    job = _wait(client, _create(client, file, epochs).id)
    seconds = time.monotonic() - began
    metrics = [event for event in client.fine_tuning.jobs.list_events(job.id, limit=100) if event.type == "metrics"]
    return seconds, len(metrics)


def _wait(client: OpenAI, job: str) -> FineTuningJob:
    while True:
        found = client.fine_tuning.jobs.retrieve(job)
        if found.status in _ENDED:
            assert found.status == "succeeded", found.error
            return found
        time.sleep(0.1)


async def _read(told: dict[str, Any], job: str, options: argparse.Namespace) -> Readings:
    """Until the job has ended; the clients begin one after another within the first interval."""
    readings, ended = Readings(), asyncio.Event()
    host, port = told["address"].split("/")[2].rsplit(":", 1)
    head = f"Host: {host}:{port}\r\nAuthorization: Bearer {told['key']}\r\n\r\n"
    paths = (f"fine_tuning/jobs/{job}", f"fine_tuning/jobs/{job}/events", "fine_tuning/jobs", "files", "models")
    requests = [f"GET /v1/{path} HTTP/1.1\r\n{head}".encode() for path in paths]
    pause = options.clients / options.rate if options.rate else 0.0

    async def client(number: int) -> None:
        await asyncio.sleep(pause * number / options.clients)
        reader, writer = await asyncio.open_connection(host, int(port))
        turn = number
        while not ended.is_set():
            began = time.monotonic()
            try:
                writer.write(requests[turn % len(requests)])
                status, body = await _answer(reader)
            except (ConnectionError, asyncio.IncompleteReadError):
                readings.broken += 1
                reader, writer = await asyncio.open_connection(host, int(port))
                continue
            readings.seconds.append(time.monotonic() - began)
            readings.statuses[status] += 1
            if turn % len(requests) == 0 and any(b'"status":"' + state.encode() in body for state in _ENDED):
                ended.set()
            turn += 1
            if pause:
                await asyncio.sleep(max(0.0, began + pause - time.monotonic()))
        writer.close()

    await asyncio.gather(*map(client, range(options.clients)))
    return readings


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
    return int(head[9:12]), await reader.readexactly(length)


def _sampled(client: OpenAI, model: str) -> float:
    """Median seconds of a short answer when nothing else is asked."""
    seconds: list[float] = []
    for number in range(_SAMPLES):
        began = time.monotonic()
        question: Any = [{"role": "user", "content": f"Where is lamp {number}?"}]
        client.chat.completions.create(model=model, messages=question, max_tokens=16)
        seconds.append(time.monotonic() - began)
    return statistics.median(seconds)


def _show(found: dict[str, Any], options: argparse.Namespace) -> None:
    lines = [
        ("requests answered", f"{found['requests']:,} in {found['together_seconds']:.0f} s"),
        ("statuses", ", ".join(f"{status}: {count:,}" for status, count in found["statuses"].items())),
        ("connections that broke", f"{found['broken']}"),
        ("GET, median, 99 %, slowest", f"{found['p50']:.3f} s, {found['p99']:.3f} s, {found['slowest']:.3f} s"),
        ("training alone", f"{found['alone_seconds']:.1f} s"),
        ("training under load", f"{found['together_seconds']:.1f} s"),
        ("CPU of the web process", f"{found['web_cpu_seconds']:.1f} s"),
        ("CPU of the load generator", f"{found['generator_cpu_seconds']:.1f} s"),
        ("training slowed by", f"{100 * found['slowed']:.1f} %"),
        ("an answer of 16 tokens, when idle", f"{found['answer_seconds']:.3f} s"),
    ]
    report.show((f"{options.clients} clients, {options.rate:g} requests/s", ""), lines)


if __name__ == "__main__":
    main()
