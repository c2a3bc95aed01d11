"""Models and permissions over HTTP."""

from __future__ import annotations

from service.web import Web

TUNED = "ft:org/base:us::a"
ENCODED = "ft:org%2Fbase:us::a"


def _tuned(web: Web, name: str = TUNED) -> str:
    web.stores.models.add(name=name, project="default", base="pocket", kind="tuned")
    return name


def test_bases_tuned_models_and_aliases_are_listed(web: Web) -> None:
    name = _tuned(web)
    told = {model["id"]: model["owned_by"] for model in web.ask("GET", "/v1/models").json["data"]}
    assert told["pocket"] == "fewtune"
    assert told[name] == "default"
    assert told["gpt-4o-mini-2024-07-18"] == "fewtune: an alias of pocket"


def test_a_slash_in_a_name_may_be_encoded_or_not(web: Web) -> None:
    _tuned(web)
    for path in (TUNED, ENCODED):
        assert web.ask("GET", f"/v1/models/{path}").json["id"] == TUNED
    assert web.ask("DELETE", f"/v1/models/{ENCODED}").json == {"id": TUNED, "object": "model", "deleted": True}
    assert web.ask("GET", f"/v1/models/{TUNED}").error["code"] == "model_not_found"


def test_a_base_or_an_alias_is_not_deleted(web: Web) -> None:
    for name in ("pocket", "gpt-4o"):
        answer = web.ask("DELETE", f"/v1/models/{name}")
        assert (answer.status, answer.error["param"]) == (400, "model")
    assert web.ask("DELETE", "/v1/models/nothing").status == 404


def test_a_permission_lets_another_project_use_a_model_until_it_is_taken_back(web: Web) -> None:
    _tuned(web)
    path = f"/v1/fine_tuning/checkpoints/{ENCODED}/permissions"
    made = web.ask("POST", path, {"project_ids": ["elsewhere", "third"]}, key=web.admin_key).json["data"]
    assert [one["project_id"] for one in made] == ["elsewhere", "third"]
    assert web.ask("GET", f"/v1/models/{ENCODED}", key=web.other_key).status == 200
    their_admin = web.stores.keys.create("their admin", "elsewhere", admin=True)[1]
    assert web.ask("GET", path, key=their_admin).status == 404, "permitted to use it, not to look who else is"
    assert web.ask("DELETE", f"/v1/models/{ENCODED}", key=web.other_key).status == 403, "used, not owned"
    assert web.create_job(model=TUNED, key=web.other_key).status == 200
    listed = web.ask("GET", f"{path}?project_id=third&order=ascending", key=web.admin_key).json
    assert [one["project_id"] for one in listed["data"]] == ["third"] and listed["last_id"] == listed["data"][0]["id"]
    assert web.ask("DELETE", f"{path}/{made[0]['id']}", key=web.admin_key).json["deleted"] is True
    assert web.ask("DELETE", f"{path}/{made[0]['id']}", key=web.admin_key).status == 404
    assert web.ask("GET", f"/v1/models/{ENCODED}", key=web.other_key).status == 404


def test_permissions_of_a_model_that_is_not_there_are_a_404(web: Web) -> None:
    path = "/v1/fine_tuning/checkpoints/ft:nothing/permissions"
    assert web.ask("GET", path, key=web.admin_key).status == 404
    assert web.ask("POST", path, {"project_ids": ["a"]}, key=web.admin_key).status == 404
    assert web.ask("POST", path, {"project_ids": []}, key=web.admin_key).status == 400
