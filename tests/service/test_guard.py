"""What every request meets before a route sees it."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from fewtune.service.limits import Limits
from service.web import Web

JOBS = "/v1/fine_tuning/jobs"


def test_a_host_that_is_not_served_is_refused_also_with_a_key(web: Web) -> None:
    for host in (
        "evil.example",
        f"evil.example:{web.port}",
        "127.0.0.1",
        "127.0.0.1:1",
        f"localhost.evil:{web.port}",
        "",
    ):
        answer = web.ask("GET", "/v1/models", headers={"Host": host})
        assert (answer.status, answer.error["code"]) == (403, "host_not_allowed"), host
    for host in (f"localhost:{web.port}", f"LOCALHOST:{web.port}", f"[::1]:{web.port}"):
        assert web.ask("GET", "/v1/models", headers={"Host": host}).status == 200, host


def test_two_host_headers_are_refused(web: Web) -> None:
    lines = ["GET /v1/models HTTP/1.1", f"Host: localhost:{web.port}", "Host: evil", f"Authorization: Bearer {web.key}"]
    with socket.create_connection(("127.0.0.1", web.port), timeout=10) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        assert connection.recv(1000).startswith((b"HTTP/1.1 403", b"HTTP/1.1 400"))


def test_a_page_of_any_origin_is_refused_and_nothing_is_said_of_sharing(web: Web) -> None:
    for origin in ("https://evil.example", "null", f"http://127.0.0.1:{web.port}"):
        answer = web.ask("GET", "/v1/models", headers={"Origin": origin})
        assert (answer.status, answer.error["code"]) == (403, "origin_not_allowed")
    asked = web.ask("OPTIONS", "/v1/models", headers={"Access-Control-Request-Method": "GET"})
    assert asked.status == 405
    assert not [name for name in asked.headers if name.startswith("access-control")]


def test_every_answer_carries_what_keeps_browsers_and_logs_in_order(web: Web) -> None:
    for answer in (web.ask("GET", "/v1/models"), web.ask("GET", "/v1/nothing"), web.ask("GET", "/v1/models", key=None)):
        assert re.fullmatch("req_[0-9a-f]{32}", answer.headers["x-request-id"])
        assert int(answer.headers["openai-processing-ms"]) >= 0
        assert answer.headers["openai-version"] == "2020-10-01"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


def test_a_request_id_of_the_clients_is_not_given_back(web: Web) -> None:
    answer = web.ask("GET", "/v1/models", headers={"x-request-id": "req_mine"})
    assert "mine" not in str(answer.headers)


def test_an_encoded_body_is_refused(web: Web) -> None:
    for path in ("/v1/files", JOBS):
        answer = web.ask("POST", path, b"x", headers={"Content-Encoding": "gzip"})
        assert (answer.status, answer.error["code"]) == (415, "unsupported_encoding")


def test_a_form_is_refused_where_none_is_taken(web: Web) -> None:
    assert web.send_form(JOBS, ('name="model"', b"pocket")).status == 415


def test_a_body_that_is_declared_too_large_is_refused_before_it_comes(web: Web) -> None:
    head = f"POST {JOBS} HTTP/1.1\r\nHost: localhost:{web.port}\r\nAuthorization: Bearer {web.key}\r\n"
    with socket.create_connection(("127.0.0.1", web.port), timeout=10) as connection:
        connection.sendall(f"{head}Content-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n".encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 413")


def test_a_body_that_grows_too_large_is_refused_while_it_comes(tmp_path: Path) -> None:
    web = Web(tmp_path, limits={"json_bytes": 2000})
    try:
        head = f"POST {JOBS} HTTP/1.1\r\nHost: localhost:{web.port}\r\nAuthorization: Bearer {web.key}\r\n"
        with socket.create_connection(("127.0.0.1", web.port), timeout=10) as connection:
            connection.sendall(f"{head}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
            for _ in range(3):
                connection.sendall(b"3e8\r\n" + b" " * 1000 + b"\r\n")
            assert connection.recv(1000).startswith(b"HTTP/1.1 413")
        assert web.ask("POST", JOBS, b" " * 2001).error["code"] == "request_too_large"
        assert web.ask("POST", JOBS, b" " * 2000).status == 400
    finally:
        web.stop()


_NESTED, _PARSED, _TOO_MANY = "nested deeper than 64", "could not parse the JSON", "more than 200,000 lists"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "Missing required parameter: a JSON body"),
        (b"{", _PARSED),
        (b"[1]", "must be an object"),
        (b"nothing", _PARSED),
        (b'{"model": "a\xff", "training_file": "b"}', _PARSED),
        (b'{"seed": ' + b"9" * 5000 + b"}", _PARSED),
        (b'{"a": ' + b"[" * 64 + b"]" * 64 + b"}", _NESTED),
        (b"[" * 100_000, _NESTED),
        (b'{"a":' * 100_000, _NESTED),
        (b"[]," * (Limits().json_containers + 1), _TOO_MANY),
        (b"[" * 65 + b'"' + b'\\"' * 2_000_000, _NESTED),
        ('{"model": "pocket", "training_file": "b"}'.encode("utf-16"), "not JSON in UTF-8"),
        (b'{"model": "\\ud800", "training_file": "b"}', "half a character"),
        (b'{"model": "a\\u0000b", "training_file": "b"}', "U+0000"),
        (b'{"model": "pocket", "training_file": "b", "seed": NaN}', "finite number"),
        (b'{"model": "pocket", "training_file": "b", "seed": 1e999}', "finite number"),
        (b'{"model": "pocket", "training_file": "b", "learning_rate_multiplier": 1e999}', "finite number"),
    ],
    ids=range(17),
)
def test_a_body_that_cannot_be_used_is_a_clear_400(web: Web, body: bytes, said: str) -> None:
    answer = web.ask("POST", JOBS, body)
    assert answer.status == 400
    assert said in answer.error["message"]
    assert answer.error["type"] == "invalid_request_error" and answer.error["code"]


def test_a_body_may_be_as_deep_as_the_limit(web: Web) -> None:
    body = b'{"a": ' + b"[" * 63 + b"]" * 63 + b"}"
    assert web.ask("POST", JOBS, body).error["param"] == "model"


def test_brackets_in_texts_do_not_count_as_depth(web: Web) -> None:
    answer = web.create_job(metadata={"a": "[" * 200 + '"' + "{" * 200})
    assert answer.status == 200
    assert answer.json["metadata"]["a"].count("[") == 200


def test_a_long_name_in_a_reason_is_shortened(web: Web) -> None:
    answer = web.create_job(method={"type": "x" * 100_000})
    assert answer.status == 400
    assert len(answer.body) < 2000
    answer = web.create_job(metadata={"k" * 5000: 1})
    assert answer.status == 400
    assert len(answer.body) < 2000


def test_control_characters_in_a_url_are_refused(web: Web) -> None:
    for path in ("/v1/files/%00", "/v1/models/a%0d%0ab", "/v1/files?after=%00", "/v1/files/%7f"):
        assert web.ask("GET", path).error["code"] == "invalid_url"


def test_an_unforeseen_error_tells_its_request_id_and_nothing_else(
    web: Web, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_arguments: object, **_named: object) -> None:
        raise RuntimeError("a secret of the database")

    monkeypatch.setattr(web.stores.jobs, "list", fail)
    answer = web.ask("GET", JOBS)
    assert (answer.status, answer.error["type"]) == (500, "server_error")
    assert answer.headers["x-request-id"] in answer.error["message"]
    assert "x-should-retry" not in answer.headers
    assert b"secret" not in answer.body
    assert "RuntimeError" in caplog.text and "test_guard.py" in caplog.text
    # Python's own traceback would quote the line that raised, and what the error says.
    assert not any(words in caplog.text for words in ("Traceback", "raise RuntimeError", "secret"))


def test_an_error_after_the_commit_is_not_to_be_tried_again(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail() -> None:
        raise RuntimeError

    monkeypatch.setattr(web.app.state, "wake", fail)
    answer = web.create_job()
    assert (answer.status, answer.headers["x-should-retry"]) == (500, "false")


def test_unknown_urls_and_methods_have_all_four_keys(web: Web) -> None:
    assert (web.ask("GET", "/v1/nothing").status, web.ask("GET", "/v1/nothing").error["code"]) == (404, "unknown_url")
    assert (web.ask("PUT", "/v1/files", {}).status, web.ask("PUT", "/v1/files", {}).error["code"]) == (
        405,
        "method_not_allowed",
    )
