"""Nobody gets anywhere without a key, and nobody sees another project."""

from __future__ import annotations

import re

import pytest

from service.web import Web


def _operations(web: Web) -> list[tuple[str, str]]:
    described = web.ask("GET", "/openapi.json", key=None).json
    return [(method.upper(), path) for path, methods in described["paths"].items() for method in methods]


def test_every_url_but_the_public_ones_needs_a_good_key(web: Web) -> None:
    operations = [one for one in _operations(web) if one[1].startswith("/v1")]
    assert len(operations) >= 30
    for method, described in operations:
        path = re.sub(r"\{[^}]*\}", "x", described)
        for key in (None, "sk-fewtune-wrong", web.revoked_key, "x" * 300):
            answer = web.ask(method, path, b"{}" if method == "POST" else None, key=key)
            assert (answer.status, answer.error["code"]) == (401, "invalid_api_key"), (method, path, key)


def test_without_a_key_nobody_learns_which_urls_there_are(web: Web) -> None:
    for path in ("/", "/v1", "/v1/nothing", "/docs", "/redoc", "/v1/../openapi.json", "//openapi.json"):
        assert web.ask("GET", path, key=None).status == 401, path


@pytest.mark.parametrize("header", ["Basic abc", "Bearer", "Bearer ", "bearer", "Token {key}", "{key}"])
def test_a_key_in_another_form_is_refused(web: Web, header: str) -> None:
    answer = web.ask("GET", "/v1/models", key=None, headers={"Authorization": header.format(key=web.key)})
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == "Bearer"


def test_organisation_and_project_headers_change_nothing(web: Web) -> None:
    headers = {"OpenAI-Organization": "org-x", "OpenAI-Project": "elsewhere"}
    file = web.file()
    assert web.ask("GET", f"/v1/files/{file}", headers=headers).status == 200


def test_another_project_finds_none_of_what_is_there(web: Web) -> None:
    file, job = web.file(), web.job()
    web.stores.models.add(name="ft:pocket:us::own", project="default", base="pocket", kind="tuned")
    upload = web.ask("POST", "/v1/uploads", {"bytes": 1, "filename": "a", "mime_type": "b", "purpose": "batch"}).json[
        "id"
    ]
    theirs = [
        ("GET", f"/v1/files/{file}"),
        ("GET", f"/v1/files/{file}/content"),
        ("DELETE", f"/v1/files/{file}"),
        ("POST", f"/v1/uploads/{upload}/cancel"),
        ("GET", f"/v1/fine_tuning/jobs/{job}"),
        ("GET", f"/v1/fine_tuning/jobs/{job}/events"),
        ("GET", f"/v1/fine_tuning/jobs/{job}/checkpoints"),
        ("POST", f"/v1/fine_tuning/jobs/{job}/cancel"),
        ("POST", f"/v1/fine_tuning/jobs/{job}/pause"),
        ("POST", f"/v1/fine_tuning/jobs/{job}/resume"),
        ("GET", "/v1/models/ft:pocket:us::own"),
        ("DELETE", "/v1/models/ft:pocket:us::own"),
    ]
    for method, path in theirs:
        assert web.ask(method, path, key=web.other_key).status == 404, path
    answer = web.create_job(training_file=file, key=web.other_key)
    assert (answer.status, answer.error["param"]) == (400, "training_file")
    assert web.create_job(model="ft:pocket:us::own", key=web.other_key).error["code"] == "model_not_found"
    assert web.ask("GET", "/v1/files", key=web.other_key).json["data"] == [
        one for one in web.ask("GET", "/v1/files", key=web.other_key).json["data"] if one["id"] != file
    ]
    assert job not in str(web.ask("GET", "/v1/fine_tuning/jobs", key=web.other_key).body)
    assert web.ask("GET", f"/v1/fine_tuning/jobs/{job}").json["status"] == "validating_files"


def test_permissions_need_the_key_of_an_administrator(web: Web) -> None:
    path = "/v1/fine_tuning/checkpoints/x/permissions"
    for method, body in (("GET", None), ("POST", {"project_ids": ["a"]})):
        assert web.ask(method, path, body).error["code"] == "insufficient_permissions"
    assert web.ask("DELETE", f"{path}/cp_x").status == 403


def test_the_description_says_which_urls_need_a_key_and_what_errors_look_like(web: Web) -> None:
    described = web.ask("GET", "/openapi.json", key=None).json
    for path, methods in described["paths"].items():
        for operation in methods.values():
            if path.startswith("/v1"):
                assert operation["security"] == [{"key": []}]
                assert "ErrorAnswer" in str(operation["responses"]["default"])
            assert "422" not in operation["responses"]
