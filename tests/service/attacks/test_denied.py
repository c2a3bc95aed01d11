"""Who has no key learns nothing, and who has another project's key finds nothing: for every route that there is."""

from __future__ import annotations

import json
import re
from typing import Any

from fewtune.service.auth import PUBLIC
from service.attacks.attacked_service import Ask, AttackedService, Operation, Rows

_PARAMETER = re.compile(r"\{(\w+)\}")


def target(operation: Operation, rows: Rows) -> str:
    return _PARAMETER.sub(lambda found: rows.ids[found.group(1)], operation.path)


def test_every_route_is_denied_without_a_key_with_a_wrong_one_and_with_a_revoked_one(attacked: AttackedService) -> None:
    operations = [one for one in attacked.operations() if one.path not in PUBLIC]
    assert len(operations) > 30
    assert attacked.ask("GET", "/v1/files", key=attacked.red.key).status == 200
    for key in ("", "sk-fewtune-" + "a" * 43, attacked.red.key[:-1], attacked.revoked):
        asks = [Ask(method=one.method, target=target(one, attacked.red), key=key) for one in operations]
        for operation, reply in zip(operations, attacked.ask_all(asks), strict=True):
            assert reply.status == 401, (str(operation), key)
            assert reply.json()["error"]["code"] == "invalid_api_key"


def test_only_what_is_meant_to_be_public_is_answered_without_a_key(attacked: AttackedService) -> None:
    """So that a route which somebody adds is not public by chance."""
    assert {"/healthz", "/readyz", "/metrics", "/openapi.json"} == PUBLIC
    for path in PUBLIC:
        assert attacked.ask("GET", path, key="").status in (200, 503)
        for other in (f"{path}/", f"/{path}", f"{path}/v1/files", f"{path};/v1/files", path.upper()):
            assert attacked.ask("GET", other, key="").status == 401, other


def test_each_row_of_another_project_is_not_found_by_any_route(attacked: AttackedService) -> None:
    operations = [one for one in attacked.operations() if set(_PARAMETER.findall(one.path)) - {"rest", "response_id"}]
    assert len(operations) > 15
    bodies: dict[str, Any] = {"metadata": {}, "part_ids": [], "project_ids": ["blue"]}
    form = b'--b\r\nContent-Disposition: form-data; name="data"; filename="a"\r\n\r\nx\r\n--b--\r\n'
    for operation in operations:
        is_form = operation.path.endswith("/parts")
        kind = "multipart/form-data; boundary=b" if is_form else "application/json"
        reply = attacked.ask(
            operation.method,
            target(operation, attacked.red),
            key=attacked.blue.key,
            headers=[("content-type", kind)],
            body=form if is_form else json.dumps(bodies).encode(),
        )
        assert reply.status == 404, str(operation)
        assert b"red.jsonl" not in reply.body


def test_the_rows_are_there_for_who_they_belong_to(attacked: AttackedService) -> None:
    """Else that they are not found would prove nothing."""
    for operation in attacked.operations():
        parameters = set(_PARAMETER.findall(operation.path)) - {"rest", "response_id"}
        if operation.method == "GET" and parameters:
            assert attacked.ask("GET", target(operation, attacked.red)).status == 200, str(operation)


def test_no_list_of_one_project_shows_a_row_of_another(attacked: AttackedService) -> None:
    lists = [one for one in attacked.operations() if one.method == "GET" and one.path not in PUBLIC]
    lists = [
        one for one in lists if attacked.ask("GET", target(one, attacked.red)).body.startswith(b'{"object":"list"')
    ]
    assert len(lists) >= 7
    theirs = [value for name, value in attacked.blue.ids.items() if name not in ("response_id", "rest")]
    for operation in lists:
        for query in ("", "?limit=100", "?after=" + attacked.blue.ids["file_id"], "?metadata[of]=blue"):
            reply = attacked.ask("GET", target(operation, attacked.red) + query)
            assert reply.status == 200
            assert not [one for one in theirs if one in reply.body.decode()], (str(operation), query)
            assert b"of blue" not in reply.body


def test_what_a_body_names_of_another_project_does_not_exist(attacked: AttackedService) -> None:
    file, model = attacked.red.ids["file_id"], attacked.red.ids["model"]
    turns = [{"role": "user", "content": "a"}]
    for path, body in (
        ("/v1/fine_tuning/jobs", {"model": "pocket", "training_file": file}),
        ("/v1/fine_tuning/jobs", {"model": model, "training_file": attacked.blue.ids["file_id"]}),
        ("/v1/chat/completions", {"model": model, "messages": turns}),
        ("/v1/chat/completions", {"model": f"{model}:ckpt-step-1", "messages": turns}),
        ("/v1/completions", {"model": model, "prompt": "a"}),
        ("/v1/responses", {"model": model, "input": "a"}),
    ):
        reply = attacked.ask("POST", path, key=attacked.blue.key, json=body)
        assert reply.status in (400, 404), path
        assert "does not exist" in reply.json()["error"]["message"]


def test_a_key_that_is_no_administrators_changes_no_permission(attacked: AttackedService) -> None:
    _, key = attacked.stores.keys.create("plain", "red")
    checked = [one for one in attacked.operations() if "/permissions" in one.path]
    assert len(checked) == 3
    for operation in checked:
        reply = attacked.ask(operation.method, target(operation, attacked.red), key=key, json={"project_ids": ["a"]})
        assert reply.status == 403, str(operation)
