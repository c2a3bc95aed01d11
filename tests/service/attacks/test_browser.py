"""Pages in a browser on the same machine: whatever they send to the service, they neither do nor learn anything."""

from __future__ import annotations

import json

import pytest

from service.attacks.attacked_service import Ask, AttackedService

_TURNS = {"model": "pocket", "messages": [{"role": "user", "content": "a"}]}
_TARGETS = (("GET", "/v1/files"), ("POST", "/v1/chat/completions"), ("GET", "/healthz"), ("GET", "/openapi.json"))


def hosts(service: AttackedService) -> list[str]:
    port = service.port
    return [
        "evil.example",
        f"evil.example:{port}",
        f"127.0.0.1.evil.example:{port}",
        f"localhost.evil.example:{port}",
        f"evil.example#127.0.0.1:{port}",
        f"127.0.0.1:{port}@evil.example",
        f"evil.example@127.0.0.1:{port}",
        f"127.0.0.1:{port}/evil",
        f"127.0.0.1:{port}?",
        f"127.0.0.1:{port},evil.example",
        f"127.0.0.1:0{port}",
        f"127.0.0.1.:{port}",
        f"localhost.:{port}",
        "127.0.0.1",
        "127.0.0.1:1",
        f"0.0.0.0:{port}",
        f"[::]:{port}",
        f"127.1:{port}",
        f"2130706433:{port}",
        f"0x7f000001:{port}",
        f"169.254.169.254:{port}",
        "testserver",
        "",
    ]


def sent(service: AttackedService, method: str, target: str, host: str, *headers: tuple[str, str]) -> bytes:
    """Over the wire, since no client would write such a head."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", f"Authorization: Bearer {service.red.key}"]
    lines += [*(f"{name}: {value}" for name, value in headers), "Connection: close", "Content-Length: 0", "", ""]
    return service.raw("\r\n".join(lines).encode())


@pytest.mark.parametrize(("method", "target"), _TARGETS)
def test_a_name_that_was_rebound_to_this_machine_is_not_served(
    attacked: AttackedService, method: str, target: str
) -> None:
    for host in hosts(attacked):
        reply = sent(attacked, method, target, host)
        assert reply[:12] in (b"HTTP/1.1 403", b"HTTP/1.1 400"), (host, reply)
    for name in ("127.0.0.1", "localhost", "LOCALHOST", "[::1]"):
        assert not sent(attacked, method, target, f"{name}:{attacked.port}").startswith(b"HTTP/1.1 403")


def test_other_headers_that_tell_a_host_change_nothing(attacked: AttackedService) -> None:
    right = f"127.0.0.1:{attacked.port}"
    for name in ("X-Forwarded-Host", "X-Host", "Forwarded", "X-Forwarded-Server", "X-HTTP-Host-Override"):
        assert sent(attacked, "GET", "/v1/files", "evil.example", (name, right)).startswith(b"HTTP/1.1 403")
        reply = sent(attacked, "GET", "/v1/files", right, (name, "evil.example"))
        assert reply.startswith(b"HTTP/1.1 200") and b"evil" not in reply
    two = f"GET /v1/files HTTP/1.1\r\nHost: {right}\r\nHost: evil.example\r\nConnection: close\r\n"
    two += f"Authorization: Bearer {attacked.red.key}\r\n\r\n"
    assert attacked.raw(two.encode())[:12] in (b"HTTP/1.1 403", b"HTTP/1.1 400")


@pytest.mark.parametrize(("method", "target"), _TARGETS)
def test_a_page_of_another_origin_is_refused(attacked: AttackedService, method: str, target: str) -> None:
    port = attacked.port
    origins = ("https://evil.example", "null", f"http://127.0.0.1:{port}", f"http://localhost:{port}", "file://", "")
    for origin in origins:
        reply = attacked.ask(method, target, headers=[("origin", origin)], body=json.dumps(_TURNS).encode())
        assert reply.status == 403, origin


def test_no_answer_lets_a_page_of_another_origin_read_it(attacked: AttackedService) -> None:
    asked = [
        ("GET", "/v1/files"),
        ("GET", "/v1/nothing"),
        ("POST", "/v1/files"),
        ("GET", "/healthz"),
        ("OPTIONS", "/v1/files"),
    ]
    for method, target in asked:
        for headers in ([], [("origin", "https://evil.example"), ("access-control-request-method", "POST")]):
            reply = attacked.ask(method, target, headers=headers)
            assert not [name for name in reply.headers if name.startswith("access-control-")]
            assert "set-cookie" not in reply.headers
            assert reply.headers["x-content-type-options"] == "nosniff"
            assert reply.headers["x-frame-options"] == "DENY"
            assert "frame-ancestors 'none'" in reply.headers["content-security-policy"]
            assert reply.headers["cross-origin-resource-policy"] == "same-origin"
            assert reply.headers["cache-control"] == "no-store"
    preflight = attacked.ask("OPTIONS", "/v1/chat/completions", key="", headers=[("origin", "https://evil.example")])
    assert preflight.status == 403


@pytest.mark.parametrize(
    "kind",
    [
        None,
        "text/plain",
        "text/plain;charset=UTF-8",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=b",
        "application/octet-stream",
        "text/plain; application/json",
        "application/jsonp",
        "",
    ],
)
def test_what_a_form_can_send_is_not_taken_for_json(attacked: AttackedService, kind: str | None) -> None:
    """Without a preflight a page may send only such bodies."""
    headers = [] if kind is None else [("content-type", kind)]
    body = json.dumps({"model": "pocket", "training_file": attacked.red.ids["file_id"]}).encode()
    before = len(attacked.stores.jobs.list("red").items)
    assert attacked.ask("POST", "/v1/fine_tuning/jobs", headers=headers, body=body).status in (400, 415)
    assert len(attacked.stores.jobs.list("red").items) == before


def test_a_key_counts_only_in_its_header(attacked: AttackedService) -> None:
    key = attacked.red.key
    for target in (f"/v1/files?api_key={key}", f"/v1/files?key={key}", f"/v1/files?authorization=Bearer%20{key}"):
        assert attacked.ask("GET", target, key="").status == 401
    for name in ("cookie", "x-api-key", "api-key", "proxy-authorization", "x-authorization"):
        assert attacked.ask("GET", "/v1/files", key="", headers=[(name, f"Bearer {key}")]).status == 401


def test_two_keys_or_an_odd_one_are_none(attacked: AttackedService) -> None:
    key = attacked.red.key
    wrong = (
        [f"Bearer {key}", f"Bearer {key}"],
        [f"Bearer {key}", "Bearer x"],
        ["Bearer x", f"Bearer {key}"],
        [f"Bearer x, Bearer {key}"],
        [f"Bearer x {key}"],
        [f"Bearer{key}"],
        [f"Basic {key}"],
        [f"Bearer\t{key}"],
        ["Bearer"],
        ["Bearer "],
        [""],
        [f"Bearer {key}\x00"],
        [f"Bearer {key[:-1]}"],
        [f"Bearer {key}" + "a" * 10_000],
        [f"Bearer \u00e9{key}"],
        [f"Bearer {key.upper()}"],
    )
    for values in wrong:
        headers = [("authorization", value) for value in values]
        assert attacked.ask("GET", "/v1/files", key="", headers=headers).status == 401, values
    assert attacked.ask("GET", "/v1/files", key="", headers=[("authorization", f"bearer {key}")]).status == 200


def test_no_spelling_of_a_url_goes_around_the_key(attacked: AttackedService) -> None:
    spellings = (
        "//v1/files",
        "/v1//files",
        "/v1/files/",
        "/v1/./files",
        "/healthz/../v1/files",
        "/healthz/%2e%2e/v1/files",
        "/healthz%2f..%2fv1%2ffiles",
        "/healthz;/../v1/files",
        "/healthz/v1/files",
        "/openapi.json/../v1/files",
        "/%76%31/files",
        "/V1/files",
        "/v1/files%20",
        "/v1/files%2f",
        "/v1/files;a=b",
        "/v1\\files",
        "/v1/%66iles",
        "*",
        "http://evil.example/v1/files",
        "http://evil.example/healthz/../v1/files",
        f"http://127.0.0.1:{attacked.port}/v1/files",
    )
    without = [attacked.raw(head(attacked, spelling, key="")) for spelling in spellings]
    for spelling, reply in zip(spellings, without, strict=True):
        assert reply[:12] in (b"HTTP/1.1 401", b"HTTP/1.1 400"), (spelling, reply)
        assert b"red.jsonl" not in reply
    asks = [Ask(method="GET", target=spelling, key="") for spelling in spellings]
    assert {reply.status for reply in attacked.ask_all(asks)} == {401}


def head(service: AttackedService, target: str, *, key: str) -> bytes:
    authorization = f"Authorization: Bearer {key}\r\n" if key else ""
    return (
        f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{service.port}\r\n{authorization}Connection: close\r\n\r\n".encode()
    )


def test_a_websocket_is_closed_at_once(attacked: AttackedService) -> None:
    upgrade = "Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    sent = head(attacked, "/v1/files", key=attacked.red.key).replace(
        b"Connection: close\r\n", b"Connection: Upgrade\r\n" + upgrade.encode()
    )
    assert not attacked.raw(sent).startswith(b"HTTP/1.1 101")
