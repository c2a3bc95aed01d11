"""Requests that ask for too much: refused, with the parameter that did, before anything is done for them."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from service.attacks import hostile
from service.attacks.attacked_service import Ask, AttackedService, Reply

CHAT, COMPLETIONS, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"
JOBS, UPLOADS, GRADERS = "/v1/fine_tuning/jobs", "/v1/uploads", "/v1/fine_tuning/alpha/graders/run"
_TURN = {"role": "user", "content": "a"}
_CHECK = {"type": "string_check", "name": "a", "operation": "eq", "input": "a", "reference": "b"}
_WANDB = {"type": "wandb", "wandb": {"project": "a"}}


def plain(service: AttackedService) -> dict[str, dict[str, Any]]:
    """A body that each URL takes."""
    return {
        CHAT: {"model": "pocket", "messages": [_TURN]},
        COMPLETIONS: {"model": "pocket", "prompt": "a"},
        RESPONSES: {"model": "pocket", "input": "a"},
        JOBS: {"model": "pocket", "training_file": service.red.ids["file_id"]},
        UPLOADS: {"filename": "a", "purpose": "user_data", "bytes": 1, "mime_type": "a"},
        GRADERS: {"grader": _CHECK, "model_sample": "a"},
    }


_SIZES: list[tuple[str, str, Callable[[int], Any], int]] = [
    (CHAT, "n", lambda size: size, 16),
    (CHAT, "messages", lambda size: [_TURN] * size, 2048),
    (CHAT, "stop", lambda size: ["a"] * size, 4),
    (CHAT, "stop", lambda size: ["a" * size], 256),
    (CHAT, "metadata", lambda size: {f"{number}": "a" for number in range(size)}, 16),
    (CHAT, "metadata", lambda size: {"a" * size: "a"}, 64),
    (CHAT, "metadata", lambda size: {"a": "a" * size}, 512),
    (CHAT, "tools", lambda size: [{"type": "function", "function": {"name": "a"}}] * size, 128),
    (CHAT, "functions", lambda size: [{"name": "a"}] * size, 128),
    (CHAT, "logit_bias", lambda size: {f"{number}": 1 for number in range(size)}, 2048),
    (COMPLETIONS, "n", lambda size: size, 16),
    (COMPLETIONS, "prompt", lambda size: ["a"] * size, 128),
    (COMPLETIONS, "logprobs", lambda size: size, 5),
    (COMPLETIONS, "stop", lambda size: ["a"] * size, 4),
    (COMPLETIONS, "logit_bias", lambda size: {f"{number}": 1 for number in range(size)}, 2048),
    (JOBS, "n_epochs", lambda size: size, 50),
    (JOBS, "batch_size", lambda size: size, 256),
    (JOBS, "suffix", lambda size: "a" * size, 64),
    (JOBS, "integrations", lambda size: [_WANDB] * size, 5),
    (JOBS, "metadata", lambda size: {f"{number}": "a" for number in range(size)}, 16),
    (UPLOADS, "filename", lambda size: "a" * size, 255),
    (UPLOADS, "mime_type", lambda size: "a" * size, 255),
    (GRADERS, "model_sample", lambda size: "a" * size, 8 * 2**20 - 1000),
]


@pytest.mark.parametrize(
    ("path", "name", "made", "most"), _SIZES, ids=lambda value: value if isinstance(value, str) else ""
)
def test_each_size_is_taken_up_to_its_bound_and_not_beyond(
    attacked: AttackedService, path: str, name: str, made: Callable[[int], Any], most: int
) -> None:
    def status(size: int) -> int:
        return attacked.ask("POST", path, json={**plain(attacked)[path], name: made(size)}).status

    assert status(most) == 200
    assert {status(most + 1) if most < 2**20 else 400, status(most + 10_000)} <= {400, 413}


@pytest.mark.parametrize(
    "value",
    [
        "-1",
        "1e308",
        "1e999",
        "-1e999",
        "NaN",
        "Infinity",
        "9" * 400,
        "9" * 10_000,
        "true",
        '"9"',
        "[]",
        "{}",
        "0.5",
        "-0",
    ],
)
def test_no_number_is_too_odd_to_be_refused(attacked: AttackedService, value: str) -> None:
    numbers = {
        CHAT: ("n", "max_tokens", "max_completion_tokens", "top_logprobs", "seed", "temperature", "top_p"),
        COMPLETIONS: ("n", "max_tokens", "logprobs", "seed", "best_of", "temperature"),
        RESPONSES: ("max_output_tokens", "temperature", "top_p", "top_logprobs"),
        JOBS: ("n_epochs", "batch_size", "learning_rate_multiplier", "seed", "beta", "prompt_loss_weight"),
        UPLOADS: ("bytes",),
    }
    headers = [("content-type", "application/json")]
    asks = [
        Ask(
            method="POST",
            target=path,
            headers=headers,
            body=json.dumps({**plain(attacked)[path], name: "here"}).replace('"here"', value).encode(),
        )
        for path, names in numbers.items()
        for name in names
    ]
    replies = list(attacked.ask_all(asks))
    assert all(reply.status in (200, 400) for reply in replies)
    if value not in ("-1", "0.5", "-0", "9" * 400):
        assert {reply.status for reply in replies} == {400}, [reply.status for reply in replies]


def bombs() -> Iterator[bytes]:
    yield b"[" * 100_000
    yield b'{"a":' * 100_000
    yield b"[" * 65 + b"]" * 65
    yield b'{"model": "pocket", "messages": [' + b"{}," * 250_000 + b"{}]}"
    yield b'{"a": "' + b"[" * 100_000
    yield b'{"a": ' + b"9" * 1_000_000 + b"}"
    yield b'{"a": "' + b"\\" * 99_999 + b'"}'
    yield b'{"a": "' + b"\\u0000" * 100_000 + b'"}'
    yield b'"' * 99_999
    yield b"{" + b'"a": 1,' * 100_000 + b'"a": 1}'
    yield b"\xff\xfe{\x00}\x00"
    yield b"\xef\xbb\xbf{}"
    yield b"\x00"
    yield b""
    yield b" " * 1_000_000
    yield b"null"
    yield b"1"
    yield b'"a"'
    yield b"[]"
    yield b"{}{}"
    yield b'{"a": \xed\xa0\x80}'


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS, RESPONSES, JOBS, UPLOADS, GRADERS])
def test_no_json_is_too_deep_or_too_long_to_be_refused(attacked: AttackedService, path: str) -> None:
    headers = [("content-type", "application/json")]
    asks = [Ask(method="POST", target=path, headers=headers, body=body) for body in bombs()]
    for ask, reply in zip(asks, attacked.ask_all(asks), strict=True):
        assert reply.status == 400, (ask.body[:40], reply.status)
        assert set(reply.json()["error"]) == {"message", "type", "param", "code"}


def changed(value: Any, text: str) -> Iterator[Any]:
    """The value with the text in the place of each of its texts and names, one after the other."""
    if isinstance(value, str):
        yield text
    elif isinstance(value, list):
        members = cast(list[Any], value)
        for place, one in enumerate(members):
            yield from ([*members[:place], other, *members[place + 1 :]] for other in changed(one, text))
    elif isinstance(value, Mapping):
        fields = cast(Mapping[str, Any], value)
        for name, one in fields.items():
            yield {**fields, text: one}
            yield from ({**fields, name: other} for other in changed(one, text))


_RARE = ("\udfff\ud800", "\ufffe", "\r\n", "\u2028", "%s%n", "{0}")


@pytest.mark.parametrize(
    "text",
    ["\ud800", "\x00", "\U0010ffff", "a" * 70_000, *(pytest.param(one, marks=pytest.mark.slow) for one in _RARE)],
    ids=lambda text: ascii(text[:9]),
)
def test_no_character_is_too_odd_for_any_field(attacked: AttackedService, text: str) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "enum": ["a"]}}}
    tool = {"type": "function", "function": {"name": "a", "parameters": schema}}
    call = {"id": "a", "type": "function", "function": {"name": "a", "arguments": "{}"}}
    turns = [
        {"role": "system", "content": [{"type": "text", "text": "a"}]},
        {"role": "user", "content": "a", "name": "a"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "content": "a", "tool_call_id": "a"},
    ]
    bodies = plain(attacked)
    bodies[CHAT] |= {"messages": turns, "tools": [tool], "stop": ["b"], "store": True, "metadata": {"a": "a"}}
    bodies[CHAT] |= {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}}
    bodies[COMPLETIONS] |= {"stop": "b", "suffix": "a", "user": "a"}
    bodies[RESPONSES] |= {"instructions": "a", "metadata": {"a": "a"}}
    bodies[JOBS] |= {"suffix": "a", "metadata": {"a": "a"}, "integrations": [_WANDB]}
    multi = {"type": "multi", "name": "m", "graders": {"a": _CHECK}, "calculate_output": "a"}
    bodies[GRADERS] = {"grader": multi, "model_sample": "a", "item": {"a": ["a", {"b": "c"}]}}
    headers = [("content-type", "application/json")]
    for path, body in bodies.items():
        asks = [
            Ask(method="POST", target=path, headers=headers, body=json.dumps(one).encode())
            for one in changed(body, text)
        ]
        for ask, reply in zip(asks, attacked.ask_all(asks), strict=True):
            assert reply.status < 500, (path, ask.body[:200], reply.body[:300])
            reply.json()


def test_what_a_grader_fills_in_does_not_grow_without_end(attacked: AttackedService) -> None:
    sample = "a" * 60_000
    for text in (
        "{{ sample.output_text }}" * 1000,
        "{{ item.a }}" * 50_000,
        "{{" * 30_000,
        "{{ item" + ".a" * 30_000 + " }}",
    ):
        for metric in ("fuzzy_match", "bleu", "gleu", "rouge_5", "rouge_l"):
            grader = {
                "type": "text_similarity",
                "name": "a",
                "input": text,
                "reference": text,
                "evaluation_metric": metric,
            }
            body = {"grader": grader, "model_sample": sample, "item": {"a": "b" * 1000}}
            reply = attacked.ask("POST", GRADERS, json=body)
            assert reply.status in (200, 400), reply.body


def test_pages_have_a_bound(attacked: AttackedService) -> None:
    for path in ("/v1/files", JOBS, CHAT, f"{JOBS}/{attacked.red.ids['job_id']}/events"):
        for limit in ("10001", "-1", "1e3", "9" * 400, "a", ""):
            assert attacked.ask("GET", f"{path}?limit={limit}").status in (400, 200 if limit == "" else 400)
        assert attacked.ask("GET", f"{path}?limit=0").status == 200
    many = "&".join(f"metadata[{number}]=a" for number in range(17))
    assert attacked.ask("GET", f"{JOBS}?{many}").status == 400


def test_a_form_has_a_bound_for_its_parts_and_their_heads(attacked: AttackedService) -> None:
    kind = [("content-type", "multipart/form-data; boundary=b")]
    file = ('name="file"; filename="a"', b"{}")
    for parts in ([(f'name="{number}"', b"x") for number in range(17)], [('name="purpose"', b"x" * 70_000)]):
        reply = attacked.ask("POST", "/v1/files", headers=kind, body=hostile.form(*parts, file))
        assert reply.status == 400
    for target in (CHAT, JOBS, "/v1/nothing"):
        assert attacked.ask("POST", target, headers=kind, body=hostile.form(file)).status == 415


def test_a_body_that_is_packed_is_not_unpacked(attacked: AttackedService) -> None:
    for coding in ("gzip", "deflate", "br", "zstd", "GZIP", "gzip, gzip", "identity, gzip"):
        for path in (CHAT, "/v1/files", JOBS):
            assert attacked.ask("POST", path, headers=[("content-encoding", coding)], body=b"\x1f\x8b").status == 415


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AttackedService]:
    limits = {
        "creations_per_minute": 30,
        "waiting_jobs": 3,
        "project_bytes": 1000,
        "file_bytes": 600,
        "upload_bytes": 600,
    }
    service = AttackedService(tmp_path_factory.mktemp("narrow") / "service", limits=limits)
    yield service
    service.stop()


def test_a_project_has_a_bound_for_its_files_and_its_waiting_jobs(narrow: AttackedService) -> None:
    def upload(size: int) -> Reply:
        parts = ('name="file"; filename="a"', b"a" * size), ('name="purpose"', b"user_data")
        kind = [("content-type", "multipart/form-data; boundary=b")]
        return narrow.ask("POST", "/v1/files", headers=kind, body=hostile.form(*parts))

    def job(seed: int) -> Reply:
        return narrow.ask("POST", JOBS, json={**plain(narrow)[JOBS], "seed": seed})

    assert [upload(size).status for size in (601, 600, 600, 100)] == [413, 200, 400, 200]
    assert [job(seed).status for seed in range(4)] == [200, 200, 200, 429]
    assert narrow.ask("POST", UPLOADS, json={**plain(narrow)[UPLOADS], "bytes": 601}).status == 400


def test_a_key_makes_only_so_much_in_a_minute_and_another_is_not_held_up(narrow: AttackedService) -> None:
    replies = [narrow.ask("POST", GRADERS, json=plain(narrow)[GRADERS]) for _ in range(32)]
    assert replies[-1].status == 429
    assert 1 <= int(replies[-1].headers["retry-after"]) <= 120
    assert narrow.ask("POST", GRADERS, key=narrow.blue.key, json=plain(narrow)[GRADERS]).status == 200
    assert narrow.ask("GET", "/v1/files").status == 200


def test_an_error_that_nobody_foresaw_says_nothing_of_the_server(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of a table that is gone, and of a value that cannot be read, the error itself holds what was asked for."""
    service = AttackedService(tmp_path / "service")
    secret = "canary-in-a-statement"
    with service.stores.engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE jobs SET hyperparameters = '{secret}'")
        for table in ("permissions", "files"):
            connection.exec_driver_sql(f"DROP TABLE {table}")
    try:
        with caplog.at_level(logging.DEBUG):
            unforeseen = service.ask("GET", f"{JOBS}/{service.red.ids['job_id']}")
            replies = [
                unforeseen,
                service.ask("GET", f"/v1/files/{secret}"),
                service.ask("GET", f"/v1/models/{secret}"),
                service.ask("POST", CHAT, json={"model": secret, "messages": [_TURN]}),
                service.ask("POST", JOBS, json={"model": "pocket", "training_file": secret}),
            ]
    finally:
        service.stop()
    for reply in replies:
        assert reply.status in (500, 503)
        for told in (secret, "sqlite", "SELECT", "Traceback", ".py", "OperationalError", str(tmp_path), "fewtune."):
            assert told not in reply.body.decode()
    assert unforeseen.status == 500
    assert unforeseen.headers["x-request-id"] in unforeseen.json()["error"]["message"]
    assert secret not in caplog.text and "unforeseen" in caplog.text


def test_no_refusal_holds_a_path_an_address_or_a_key(attacked: AttackedService) -> None:
    asks = [
        Ask(method="POST", target=path, headers=[("content-type", "application/json")], body=body)
        for path in plain(attacked)
        for body in bombs()
    ]
    asks += [Ask(method=one.method, target=one.path.replace("{", "").replace("}", "")) for one in attacked.operations()]
    refusals = [reply.body.decode() for reply in attacked.ask_all(asks) if reply.status >= 400]
    assert len(refusals) > 100
    for told in (
        str(attacked.folder),
        "site-packages",
        "Traceback",
        "0x",
        attacked.red.key,
        "sqlalchemy",
        "pydantic",
        "File \\",
        ".py",
    ):
        assert [one for one in refusals if told in one] == [], told
