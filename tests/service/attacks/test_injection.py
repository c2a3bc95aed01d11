"""Templates, commands and SQL in every place that takes text: it stays text."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import func, select

from fewtune.data.chat_template import open_template
from fewtune.errors import ChatTemplateError, DataError
from fewtune.store.service_database import reading
from fewtune.store.service_schema import files, jobs, keys
from service.attacks import hostile
from service.attacks.attacked_service import Ask, AttackedService

_JSON = (("content-type", "application/json"),)


@pytest.fixture(autouse=True)
def mark(attacked: AttackedService, tmp_path: Path) -> Iterator[Path]:
    """A place that no payload may make."""
    place = tmp_path / "made-by-an-attack"
    yield place
    assert not place.exists()


def post(path: str, body: dict[str, Any]) -> Ask:
    return Ask(method="POST", target=path, headers=_JSON, body=json.dumps(body).encode())


def test_a_template_in_a_message_a_name_or_metadata_stays_text(attacked: AttackedService, mark: Path) -> None:
    payloads = [text.replace("{place}", str(mark)) for text in hostile.TEMPLATES]
    assert len(set(payloads)) == 200
    asked = [
        {
            "model": "pocket",
            "messages": [{"role": "user", "name": text[:64], "content": text}],
            "store": True,
            "metadata": {"a": text},
        }
        for text in payloads
    ]
    replies = list(attacked.ask_all(post("/v1/chat/completions", body) for body in asked))
    assert {reply.status for reply in replies} == {200}
    said = {reply.json()["choices"][0]["message"]["content"] for reply in replies}
    assert said == {" ".join(text.split()) for text in payloads}
    heard = {ask.request.messages[-1].content for ask in attacked.worker.asked if ask.request.messages}
    assert set(payloads) <= heard
    kept = attacked.ask("GET", "/v1/chat/completions?limit=1000").json()["data"]
    assert set(payloads) <= {one["metadata"].get("a") for one in kept}


def test_a_template_in_what_a_job_is_called_stays_text(attacked: AttackedService, mark: Path) -> None:
    file = attacked.red.ids["file_id"]
    for text in hostile.TEMPLATES[::10]:
        text = text.replace("{place}", str(mark))
        body = {"model": "pocket", "training_file": file, "suffix": text[:64], "metadata": {"a": text}}
        job = attacked.ask("POST", "/v1/fine_tuning/jobs", json=body).json()
        assert job["metadata"] == {"a": text}


def test_no_request_brings_a_template_along(attacked: AttackedService) -> None:
    """Its fields are passed over like all that is not known, and reach no worker."""
    body = {
        "model": "pocket",
        "messages": [{"role": "user", "content": "plainly"}],
        "chat_template": "{{ 7*7 }}",
        "chat_template_kwargs": {"chat_template": "{{ 7*7 }}", "tokenize": True},
        "template": "{{ 7*7 }}",
    }
    assert attacked.ask("POST", "/v1/chat/completions", json=body).status == 200
    assert "7*7" not in repr(attacked.worker.asked[-1])


def test_a_grader_fills_in_what_it_is_given_and_calculates_nothing(attacked: AttackedService, mark: Path) -> None:
    body: dict[str, Any] = {}
    for text in hostile.TEMPLATES:
        text = text.replace("{place}", str(mark))
        grader = {"type": "string_check", "name": "a", "operation": "eq", "reference": "49", "input": text}
        body = {"grader": grader, "model_sample": "{{ 7*7 }}", "item": {"x": "{{ item.y }}", "y": "secret"}}
        reply = attacked.ask("POST", "/v1/fine_tuning/alpha/graders/run", json=body)
        assert reply.status == 200 and reply.json()["reward"] == 0
    twice = {"type": "string_check", "name": "a", "operation": "eq", "reference": "{{ item.x }}", "input": "secret"}
    reply = attacked.ask("POST", "/v1/fine_tuning/alpha/graders/run", json={**body, "grader": twice})
    assert reply.json()["reward"] == 0, "what was filled in was looked through again"


def test_a_formula_is_read_and_never_run(attacked: AttackedService, mark: Path) -> None:
    part = {"type": "string_check", "name": "a", "operation": "eq", "reference": "x", "input": "x"}
    formulas = [text.strip("{}% ") for text in hostile.TEMPLATES[1:20]] + [
        f"__import__('os').system('touch {mark}')",
        f"open('{mark}', 'w')",
        "(lambda: 1)()",
        "a.__class__",
        "[x for x in (1,)]",
        "a if a else a",
        "f'{a}'",
        "9**9**9**9",
        "(" * 400 + "a" + ")" * 400,
        "-" * 900 + "a",
        "a" + "+a" * 400,
        "a := 1",
        "exp(exp(exp(exp(9))))",
        "1 .real",
        "'\\d'",
        "\ud800a",
        "9" * 1000,
    ]
    for formula in formulas:
        grader = {"type": "multi", "name": "m", "graders": {"a": part}, "calculate_output": formula}
        for path in ("run", "validate"):
            body = {"grader": grader, "model_sample": "x"}
            reply = attacked.ask("POST", f"/v1/fine_tuning/alpha/graders/{path}", json=body)
            assert reply.status in (200, 400), (formula, reply.body)
            assert reply.json().get("reward", 0) == 0, formula


@pytest.mark.parametrize("expression", hostile.EXPRESSIONS)
def test_a_bases_own_template_reaches_nothing(expression: str, mark: Path) -> None:
    """It is run for the rows of a training file, and a base may come from anywhere."""
    source = "{{ %s }}{%% for message in messages %%}{{ message.content }}{%% endfor %%}"
    for text in (source % expression.replace("{place}", str(mark)), f"{{% set x = {expression} %}}{{{{ x }}}}"):
        try:
            shown = open_template(text, {}, "a base").render([{"role": "user", "content": "a"}])
        except (ChatTemplateError, DataError):
            continue
        assert len(shown) < 2**20
        assert "class" not in shown and "uid=" not in shown and os.sep not in shown


def test_sql_in_a_url_or_a_body_is_only_a_value(attacked: AttackedService, mark: Path) -> None:
    before = counts(attacked)
    for text in hostile.SQL:
        text = text.replace("{place}", str(mark))
        value = quote(text, safe="")
        for target in (
            f"/v1/files?purpose={value}",
            f"/v1/fine_tuning/jobs?metadata[of]={value}",
            f"/v1/chat/completions?model={value}",
            f"/v1/chat/completions?metadata[of]={value}",
            f"/v1/chat/completions?metadata[{value}]=red",
        ):
            reply = attacked.ask("GET", target)
            assert reply.status == 200 or len(text) > 64, target
            assert reply.json().get("data", []) == [], target
        for target in (f"/v1/files?after={value}", f"/v1/fine_tuning/jobs?after={value}"):
            shown = attacked.ask("GET", target).json()["data"]
            assert attacked.blue.ids["file_id"] not in str(shown) and len(shown) >= 1
    assert counts(attacked) == before


def test_sql_in_a_key_is_only_a_wrong_key(attacked: AttackedService) -> None:
    for text in hostile.SQL:
        if text.isascii():
            assert attacked.ask("GET", "/v1/files", key=text).status == 401
    assert attacked.ask("GET", "/v1/files").status == 200


def test_a_command_in_a_name_is_run_by_nobody(attacked: AttackedService, mark: Path) -> None:
    sent = [text.replace("{place}", str(mark)) for text in hostile.COMMANDS]
    forms = [
        hostile.form((f'name="file"; filename="{text}"', b"{}"), ('name="purpose"', b"user_data")) for text in sent
    ]
    kind = (("content-type", "multipart/form-data; boundary=b"),)
    for reply in attacked.ask_all(Ask(method="POST", target="/v1/files", headers=kind, body=form) for form in forms):
        assert reply.status in (200, 400)
    file = attacked.red.ids["file_id"]
    for text in sent:
        body = {"model": "pocket", "training_file": file, "suffix": text[:64]}
        assert attacked.ask("POST", "/v1/fine_tuning/jobs", json=body).status == 200
        assert attacked.ask("POST", "/v1/fine_tuning/jobs", json={**body, "model": text}).status == 400


def counts(service: AttackedService) -> list[int]:
    with reading(service.stores.engine) as connection:
        return [
            connection.execute(select(func.count()).select_from(table)).scalar_one() for table in (files, jobs, keys)
        ]
