"""No connection is opened because a request, or a training file, named an address."""

from __future__ import annotations

import json
import select
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fewtune.service.worker.training_file import read_training_file
from service.attacks.attacked_service import AttackedService


class Canary:
    """A port that nobody should ever connect to."""

    def __init__(self) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listening.getsockname()[1]}/x"

    @property
    def was_called(self) -> bool:
        return bool(select.select([self.listening], [], [], 0.05)[0])


@pytest.fixture
def canary() -> Iterator[Canary]:
    canary = Canary()
    yield canary
    canary.listening.close()


def urls(canary: Canary) -> list[str]:
    port = canary.url.rpartition(":")[2]
    return [
        canary.url,
        f"http://localhost:{port}",
        f"http://evil.example@127.0.0.1:{port}",
        f"http://[::ffff:127.0.0.1]:{port}",
        f"http://2130706433:{port}",
        "http://169.254.169.254/latest/meta-data/",
        "file:///etc/passwd",
        f"gopher://127.0.0.1:{port}",
        f"//127.0.0.1:{port}",
        "data:image/png;base64,AAAA",
    ]


def bodies(url: str, file: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each field that is, or in some other server was, an address."""
    for part in (
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "input_audio", "input_audio": {"data": url, "format": "wav"}},
        {"type": "file", "file": {"file_data": url, "file_url": url}},
        {"type": "video_url", "video_url": {"url": url}},
    ):
        messages = [{"role": "user", "content": [{"type": "text", "text": "a"}, part]}]
        yield "/v1/chat/completions", {"model": "pocket", "messages": messages}
    chat = {"model": "pocket", "messages": [{"role": "user", "content": url}]}
    yield (
        "/v1/chat/completions",
        {**chat, "tools": [{"type": "mcp", "server_url": url}], "web_search_options": {"url": url}},
    )
    yield "/v1/chat/completions", {**chat, "response_format": schema(url)}
    yield (
        "/v1/responses",
        {"model": "pocket", "input": [{"role": "user", "content": [{"type": "input_image", "image_url": url}]}]},
    )
    yield (
        "/v1/responses",
        {"model": "pocket", "input": url, "tools": [{"type": "mcp", "server_url": url}], "webhook_url": url},
    )
    yield "/v1/completions", {"model": "pocket", "prompt": url, "base_url": url, "api_base": url}
    yield "/v1/chat/completions", {**chat, "model": url}
    wandb = {"type": "wandb", "wandb": {"project": url, "entity": url, "name": url, "base_url": url}}
    job = {"model": "pocket", "training_file": file}
    yield "/v1/fine_tuning/jobs", {**job, "integrations": [wandb], "webhook": url, "metadata": {"webhook": url}}
    yield "/v1/fine_tuning/jobs", {**job, "training_file": url}
    yield "/v1/fine_tuning/jobs", {**job, "model": url}
    judged = {
        "type": "score_model",
        "name": "a",
        "model": url,
        "input": [{"role": "user", "content": url}],
        "base_url": url,
    }
    for path in ("run", "validate"):
        yield f"/v1/fine_tuning/alpha/graders/{path}", {"grader": judged, "model_sample": url, "item": {"url": url}}
        python = {"type": "python", "name": "a", "source": f"import urllib.request; urllib.request.urlopen('{url}')"}
        yield f"/v1/fine_tuning/alpha/graders/{path}", {"grader": python, "model_sample": "a"}
    yield "/v1/uploads", {"filename": url, "purpose": "user_data", "bytes": 1, "mime_type": url}


def schema(url: str) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "a", "schema": {"$ref": url, "$schema": url, "$id": url}}}


def test_no_address_in_a_request_is_called(attacked: AttackedService, canary: Canary, shut_sockets: list[str]) -> None:
    """`shut_sockets` also tells of attempts that would not have reached the canary."""
    sent = 0
    for url in urls(canary):
        for path, body in bodies(url, attacked.red.ids["file_id"]):
            assert 200 <= attacked.ask("POST", path, json=body).status < 500
            sent += 1
    assert sent > 150
    assert not canary.was_called and shut_sockets == []


def test_no_address_in_a_training_file_is_called(canary: Canary, tmp_path: Path, shut_sockets: list[str]) -> None:
    path = tmp_path / "a.jsonl"
    for url in urls(canary):
        part = {"type": "image_url", "image_url": {"url": url}}
        rows = [
            {"messages": [{"role": "user", "content": [part]}, {"role": "assistant", "content": url}]},
            {"messages": [{"role": "user", "content": url}, {"role": "assistant", "content": url}], "url": url},
            {"prompt": url, "completion": url},
        ]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        read_training_file(path, "a.jsonl", "supervised", first_row=0)
    assert not canary.was_called


def test_the_canary_tells(canary: Canary) -> None:
    with socket.create_connection(canary.listening.getsockname()):
        assert canary.was_called
