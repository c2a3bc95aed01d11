"""The web process over the wire: what it loads, what it holds, and what it lets out."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest

from service.attacks.web_process import WebProcess

_HEAVY = frozenset({"torch", "transformers", "polars", "optuna", "sklearn", "tokenizers", "safetensors", "matplotlib"})
_THREADS = 40
"""Those that AnyIO has for what blocks."""


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebProcess]:
    process = WebProcess(tmp_path_factory.mktemp("web") / "service")
    yield process
    process.stop()


def is_well(web: WebProcess) -> bool:
    return web.ask("GET", "/v1/files")[0] == 200


@pytest.mark.parametrize(
    "body",
    [
        b"x: " + b"a" * 200_000 + b"\r\n\r\n",
        b"".join(b"x-%d: %s\r\n" % (number, b"a" * 100) for number in range(2000)) + b"\r\n",
        b"cookie: a=b\r\n" * 50_000 + b"\r\n",
        b" folded\r\n" * 50_000 + b"\r\n",
    ],
    ids=["one", "many", "short", "folded"],
)
def test_a_head_without_end_is_refused_before_it_is_held(web: WebProcess, body: bytes) -> None:
    for head in (web.head("GET /healthz"), web.head("GET /v1/files")):
        assert web.raw(head + body)[:10] in (b"HTTP/1.1 4", b"")
    assert is_well(web)


def test_a_url_without_end_is_refused_before_it_is_held(web: WebProcess) -> None:
    for target in ("/healthz?" + "a" * 2_000_000, "/v1/models/" + "a/" * 1_000_000, "/" * 1_000_000):
        assert web.raw(web.head(f"GET {target}") + b"\r\n")[:10] in (b"HTTP/1.1 4", b"")
    assert is_well(web)


def test_a_head_of_the_usual_size_is_taken(web: WebProcess) -> None:
    """Else that large ones are refused would prove nothing."""
    assert web.raw(web.head("GET /v1/files", "X: " + "a" * 8000, "Connection: close") + b"\r\n")[:12] == b"HTTP/1.1 200"


def test_clients_that_send_a_byte_now_and_then_hold_no_thread(web: WebProcess) -> None:
    json_head = web.head("POST /v1/chat/completions", "Content-Type: application/json", "Content-Length: 1000")
    form = web.head("POST /v1/files", "Content-Type: multipart/form-data; boundary=b", "Content-Length: 1000")
    part = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n'
    with ExitStack() as stack:
        for sent in (web.head("GET /v1/files"), json_head + b"\r\n{", form + b"\r\n" + part):
            for _ in range(_THREADS + 5):
                slow = stack.enter_context(socket.create_connection(("127.0.0.1", web.port), timeout=30))
                slow.sendall(sent)
            assert is_well(web)
            assert web.ask("POST", "/v1/chat/completions", chat("hello"))[0] == 200
    remains = [one for one in (web.folder / "files").iterdir() if one.name.startswith(".partial")]
    for _ in range(100):
        if not remains or not is_well(web):
            break
        remains = [one for one in (web.folder / "files").iterdir() if one.name.startswith(".partial")]
    assert remains == []


def test_a_body_that_is_announced_too_large_is_not_waited_for(web: WebProcess) -> None:
    for length in (2**23 + 1, 2**40, 10**18):
        head = web.head("POST /v1/chat/completions", "Content-Type: application/json", f"Content-Length: {length}")
        assert web.first(head + b"\r\n{")[:12] == b"HTTP/1.1 413"


def test_a_body_that_grows_too_large_is_cut_off(web: WebProcess) -> None:
    head = web.head("POST /v1/chat/completions", "Content-Type: application/json", "Transfer-Encoding: chunked")
    chunks = b"".join(b"100000\r\n" + b"a" * 2**20 + b"\r\n" for _ in range(12))
    assert web.first(head + b"\r\n" + chunks)[:12] == b"HTTP/1.1 413"
    assert is_well(web)


@pytest.mark.parametrize(
    "headers",
    [
        ("Content-Length: 5", "Transfer-Encoding: chunked"),
        ("Content-Length: 5", "Content-Length: 6"),
        ("Content-Length: -1",),
        ("Content-Length: +5",),
        ("Content-Length: 5,5,6",),
        ("Content-Length: 0x5",),
        ("Transfer-Encoding: chunked, identity",),
        ("Transfer-Encoding: xchunked",),
        ("Transfer-Encoding: chunked", "Transfer-Encoding: gzip"),
        ("Content Length: 5",),
        ("X\x00: a",),
        (": a",),
    ],
    ids=str,
)
def test_a_request_whose_end_is_in_doubt_is_not_the_beginning_of_another(
    web: WebProcess, headers: tuple[str, ...]
) -> None:
    smuggled = web.head("GET /v1/files", "Connection: close") + b"\r\n"
    reply = web.raw(web.head("POST /v1/nothing", *headers) + b"\r\n0\r\n\r\n" + smuggled)
    assert reply.count(b"HTTP/1.1 2") == 0, reply
    assert is_well(web)


def test_what_is_no_http_does_no_harm(web: WebProcess) -> None:
    for sent in (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 512,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/9.9\r\nConnection: close\r\n\r\n",
        b"GET /\r\n\r\n",
        b"\r\n" * 100_000,
        b"GET /v1/files\x00 HTTP/1.1\r\n\r\n",
        b"\xff" * 100_000,
        b"ANYTHING /v1/files HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    ):
        with suppress(TimeoutError):
            assert b"HTTP/1.1 2" not in web.raw(sent)
    assert is_well(web)


def test_words_that_clients_invent_for_methods_make_no_numbers_of_their_own(web: WebProcess) -> None:
    for number in range(20):
        web.raw(web.head(f"INVENTED{number} /v1/files", "Connection: close") + b"\r\n")
    told = web.ask("GET", "/metrics")[1].decode()
    assert "INVENTED" not in told
    assert 'method="OTHER"' in told


def test_a_range_is_passed_over(web: WebProcess) -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n0123456789\r\n'
    body += b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n--b--\r\n'
    told = web.ask("POST", "/v1/files", body, content_type="multipart/form-data; boundary=b")[1]
    target = f"/v1/files/{json.loads(told)['id']}/content"
    for wanted in ("bytes=0-1", "bytes=" + ",".join(f"{start}-" for start in range(5000)), "bytes=9-0", "a=" * 5000):
        assert web.ask("GET", target, range=wanted) == (200, b"0123456789")


def test_neither_keys_nor_prompts_nor_names_are_logged_or_kept_where_they_do_not_belong(web: WebProcess) -> None:
    key = "sk-fewtune-" + "Canary0" * 6 + "x"
    sent = {slot: f"canary-{slot}-{place:04d}" for place, slot in enumerate(_SLOTS)}
    for target, body in canaries(sent).items():
        assert web.ask("POST", target, body)[0] < 500, target
        assert web.ask("POST", target, {**body, "model": sent["model"]})[0] < 500
    web.ask("POST", "/v1/files", upload(sent), content_type="multipart/form-data; boundary=b")
    for target in (
        f"/v1/files?after={sent['query']}",
        f"/v1/files/{sent['path']}",
        f"/{sent['path']}?a={sent['query']}",
    ):
        web.ask("GET", target, user_agent=sent["header"], idempotency_key=sent["header"], cookie=sent["header"])
    for secret in (key, web.key + "Canary0"):
        assert web.ask("GET", "/v1/files", key=secret)[0] == 401
        assert web.ask("GET", f"/v1/files?api_key={secret}", x_api_key=secret)[0] == 200
        assert web.ask("GET", f"/v1/files/{secret}", authorization2=secret)[0] == 404
        assert web.ask("POST", "/v1/chat/completions", {**chat("a"), "user": secret, "api_key": secret})[0] == 200
    log = web.log.read_bytes()
    kept = {one: one.read_bytes() for one in web.folder.rglob("*") if one.is_file()}
    assert log and kept
    for secret in ("Canary0", web.key):
        assert secret.encode() not in log
        assert [one.name for one, content in kept.items() if secret.encode() in content] == []
    for slot, canary in sent.items():
        assert canary.encode() not in log, slot
        holding = {one.parent.name for one, content in kept.items() if canary.encode() in content}
        assert holding == _SLOTS[slot], slot


_NOWHERE: set[str] = set()
_SLOTS = {
    "prompt": _NOWHERE,
    "system": _NOWHERE,
    "name": _NOWHERE,
    "user": _NOWHERE,
    "stop": _NOWHERE,
    "instructions": _NOWHERE,
    "grader": _NOWHERE,
    "sample": _NOWHERE,
    "model": _NOWHERE,
    "header": _NOWHERE,
    "query": _NOWHERE,
    "path": _NOWHERE,
    "file": {"files"},
    "filename": {"service"},
}
"""What is sent in each, and the folder that may hold it afterwards; the database is in `service`."""


def chat(content: str) -> dict[str, Any]:
    return {"model": "pocket", "messages": [{"role": "user", "content": content}]}


def canaries(sent: dict[str, str]) -> dict[str, dict[str, Any]]:
    turns = [
        {"role": "system", "content": sent["system"]},
        {"role": "user", "content": sent["prompt"], "name": sent["name"]},
    ]
    grader = {"type": "string_check", "name": "a", "operation": "eq", "input": sent["grader"], "reference": "a"}
    graded = {"grader": grader, "model_sample": sent["sample"], "item": {"a": sent["sample"]}}
    return {
        "/v1/chat/completions": {"model": "pocket", "messages": turns, "user": sent["user"], "stop": [sent["stop"]]},
        "/v1/completions": {"model": "pocket", "prompt": sent["prompt"], "suffix": sent["user"]},
        "/v1/responses": {"model": "pocket", "input": sent["prompt"], "instructions": sent["instructions"]},
        "/v1/fine_tuning/alpha/graders/run": graded,
        "/v1/fine_tuning/jobs": {"model": "pocket", "training_file": sent["path"], "suffix": sent["name"]},
    }


def upload(sent: dict[str, str]) -> bytes:
    head = (
        f'--b\r\nContent-Disposition: form-data; name="file"; filename="{sent["filename"]}"\r\n\r\n{sent["file"]}\r\n'
    )
    return head.encode() + b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n--b--\r\n'


def test_all_that_was_asked_so_far_and_every_kind_of_request_loads_nothing_heavy(web: WebProcess) -> None:
    """Last, so that whatever a request may import has been imported."""
    described = json.loads(web.ask("GET", "/openapi.json")[1])["paths"]
    for path, operations in described.items():
        for method in operations:
            target = path.replace("{model}", "pocket").replace("{", "").replace("}", "")
            assert web.ask(method.upper(), target, {"model": "pocket"})[0] < 500, target
    formats = [
        {"type": "json_object"},
        {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}},
    ]
    for extra in [*({"response_format": one} for one in formats), {"stream": True}, {"logprobs": True}]:
        assert web.ask("POST", "/v1/chat/completions", {**chat("hello"), **extra})[0] == 200
    imported = {name.partition(".")[0] for name in web.imported()}
    assert {"fastapi", "fewtune", "sqlalchemy"} <= imported
    assert imported & _HEAVY == set()
