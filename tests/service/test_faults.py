"""A network that fails between client and service: each create is one job, however often the client sends it."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvicorn
from openai import AsyncOpenAI

from fewtune.service.app import create_app
from fewtune.service.settings import ServiceSettings
from fewtune.store.keys import Keys
from fewtune.store.service_database import open_service_database

FAULTS = ("error after commit", "dropped before", "dropped after", "slow")
_CLIENT_SECONDS = 5.0
"""How long the client waits for an answer before it sends its request again."""
_GATEWAY_ERROR = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class FaultyNetwork:
    """A proxy that harms the first one or two deliveries of most creates, as their number decides."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._deliveries: Counter[int] = Counter()
        self.harmed: Counter[str] = Counter()

    def fault(self, body: bytes) -> str | None:
        number = json.loads(body)["metadata"]["number"]
        delivery = self._deliveries[number]
        self._deliveries[number] += 1
        draw = random.Random(f"{number}:faults")
        planned = [draw.choices(FAULTS, weights=(4, 4, 4, 1))[0] for _ in range(draw.choice((0, 1, 1, 2)))]
        return planned[delivery] if delivery < len(planned) else None

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            body = await reader.readexactly(int(length.partition(b":")[2]))
            fault = self.fault(body) if head.startswith(b"POST /v1/fine_tuning/jobs ") else None
            self.harmed[fault or "none"] += 1
            if fault != "dropped before":
                answer = await self._ask(head, body)
                if fault == "slow":
                    await asyncio.sleep(_CLIENT_SECONDS + 0.5)
                if fault != "dropped after":
                    writer.write(_GATEWAY_ERROR if fault == "error after commit" else answer)
                    await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _ask(self, head: bytes, body: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        first, _, rest = head.partition(b"\r\n")
        lines = [line for line in rest.split(b"\r\n") if not line.lower().startswith((b"connection:", b"host:"))]
        host = f"Host: 127.0.0.1:{self._port}".encode()
        writer.write(b"\r\n".join([first, host, b"Connection: close", *lines]) + body)
        answer = await reader.read()
        writer.close()
        return answer


@pytest.fixture
def settings(tmp_path: Path) -> ServiceSettings:
    """Of a service without a worker, so that every job waits, and without limits of how many may."""
    folder = tmp_path / "service"
    folder.mkdir(mode=0o700)
    limits = {"waiting_jobs": 10_000, "creations_per_minute": 100_000}
    return ServiceSettings(folder=folder, provider="fake", limits=limits)


@pytest.fixture
def key(settings: ServiceSettings) -> Iterator[str]:
    engine = open_service_database(settings.store)
    yield Keys(engine).create("faults")[1]
    engine.dispose()


@asynccontextmanager
async def listening(settings: ServiceSettings) -> AsyncIterator[int]:
    """The web process's app on a port of its own."""
    server = uvicorn.Server(uvicorn.Config(create_app(settings), port=0, log_config=None, access_log=False))
    running = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
        assert not running.done()
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await running


@pytest.mark.asyncio
@pytest.mark.parametrize("creates", [100, pytest.param(1000, marks=pytest.mark.slow)])
async def test_every_create_is_one_job_whatever_the_network_does(
    creates: int, settings: ServiceSettings, key: str
) -> None:
    async with listening(settings) as port:
        network = FaultyNetwork(port)
        proxy = await asyncio.start_server(network.carry, "127.0.0.1", 0)
        address = f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}/v1"
        direct = AsyncOpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key=key)
        # Its own retries, two of them, as it comes.
        client = AsyncOpenAI(base_url=address, api_key=key, timeout=_CLIENT_SECONDS)
        async with proxy, direct, client:
            lines = b"".join(
                json.dumps(
                    {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": f"{n}"}]}
                ).encode()
                + b"\n"
                for n in range(10)
            )
            file = await direct.files.create(file=("training.jsonl", lines), purpose="fine-tune")
            at_once = asyncio.Semaphore(50)

            async def create(number: int) -> str:
                async with at_once:
                    job = await client.fine_tuning.jobs.create(
                        training_file=file.id, model="pocket", metadata={"number": str(number)}
                    )
                assert job.metadata == {"number": str(number)}
                return job.id

            told = await asyncio.gather(*map(create, range(creates)))
            stored = [job.id async for job in direct.fine_tuning.jobs.list(limit=100)]
    assert set(FAULTS) <= set(network.harmed), "every kind of fault has been seen"
    assert len(stored) == len(set(stored)) == creates
    assert set(told) == set(stored)
