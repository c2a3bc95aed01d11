"""The web process's application on a real port, with a worker that does what prompts tell it."""

from __future__ import annotations

import asyncio
import json
import math
import socket
import threading
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import uvicorn
from openai import OpenAI

from fewtune.providers.contract import TokenChoice
from fewtune.service.app import create_app
from fewtune.service.settings import ServiceSettings
from fewtune.service.stores import Stores
from fewtune.service.worker.address import worker_socket
from fewtune.service.worker.protocol import Ask
from service.scripted_worker import Line, ScriptedWorker

_SECONDS = 20


async def obey(line: Line, ask: Ask) -> None:
    """`refuse CODE`, `die`, `die in the middle`, `wait`, `cut`; anything else is said again, word by word."""
    prompt = ask.request.messages[-1].content if ask.request.messages else ask.request.prompt
    if prompt.startswith("refuse "):
        line.refuse(ask, prompt.removeprefix("refuse "), "No.")
    elif prompt == "die":
        line.die()
    elif prompt == "die in the middle":
        line.piece(ask, "one")
        await line.writer.drain()
        await asyncio.sleep(0.05)
        line.die()
    elif prompt != "wait":
        await _say(line, ask, prompt)


async def _say(line: Line, ask: Ask, prompt: str) -> None:
    words = prompt.split()
    told = words[: ask.request.max_tokens]
    for place, word in enumerate(told):
        text = word if place == 0 else f" {word}"
        line.piece(ask, text, () if ask.request.alternatives is None else _choices(text, ask.request.alternatives))
        await line.writer.drain()
    line.answer(ask, " ".join(told), length=len(told) < len(words))


def _choices(text: str, alternatives: int) -> tuple[TokenChoice, ...]:
    """One token for each byte."""
    return tuple(
        TokenChoice(
            text=bytes([byte]).decode(errors="surrogateescape"),
            log_likelihood=-0.5,
            alternatives=(("é", -0.25), ("?", -math.inf))[:alternatives],
        )
        for byte in text.encode()
    )


class WebService:
    """The application, in a thread until it is stopped."""

    def __init__(self, settings: ServiceSettings) -> None:
        self.app = create_app(settings)
        self.stores: Stores = self.app.state.stores
        _, self.key = self.stores.keys.create("tests")
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listening.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}/v1"
        self.openai = OpenAI(base_url=self.address, api_key=self.key, max_retries=0, _strict_response_validation=True)
        config = uvicorn.Config(self.app, lifespan="on", log_config=None, timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        while not self._server.started:
            pass

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(self.serve())
        self.loop.close()

    async def serve(self) -> None:
        await self._server.serve(sockets=[self.listening])

    def stop(self) -> None:
        self.openai.close()
        self._server.should_exit = True
        self._thread.join(_SECONDS)
        self.listening.close()

    def post(self, path: str, body: Any, *, key: str | None = None) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and the whole body, as they came."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=_SECONDS)
        try:
            headers = {"Authorization": f"Bearer {key or self.key}", "Content-Type": "application/json"}
            connection.request("POST", f"/v1{path}", body if isinstance(body, bytes) else json.dumps(body), headers)
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def refused(self, path: str, body: Any) -> tuple[int, dict[str, Any]]:
        """Status and error of a request that is no success."""
        status, _, told = self.post(path, body)
        return status, json.loads(told)["error"]

    def chat(self, content: Any, **values: Any) -> dict[str, Any]:
        """A successful chat completion with one turn of the user's."""
        body = {"model": "pocket", "messages": [{"role": "user", "content": content}], **values}
        status, _, told = self.post("/chat/completions", body)
        assert status == 200, told
        return json.loads(told)

    def events(self, path: str, body: Any) -> list[Any]:
        """The data of each event of a stream, `[DONE]` as it stands."""
        status, headers, told = self.post(path, {**body, "stream": True})
        assert status == 200, told
        assert headers["content-type"].startswith("text/event-stream")
        blocks = told.decode().split("\n\n")
        assert blocks.pop() == ""
        data = [block.removeprefix("data: ") for block in blocks]
        return [one if one == "[DONE]" else json.loads(one) for one in data]


class ScriptedService(WebService):
    """With a worker that obeys."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.worker = ScriptedWorker(worker_socket(folder, 0), obey)
        super().__init__(ServiceSettings(folder=folder, **settings))

    async def serve(self) -> None:
        async with self.worker:
            await super().serve()
