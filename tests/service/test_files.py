"""Files over HTTP."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from openai import OpenAI

from service.web import TRAINING, Web

FILE = 'name="file"; filename="t.jsonl"'
PURPOSE = ('name="purpose"', b"fine-tune")


def _kept(web: Web) -> set[str]:
    return {str(path.relative_to(web.folder)) for path in web.folder.rglob("*") if path.is_file()}


def test_a_file_comes_back_byte_for_byte_wherever_it_stood_in_the_form(web: Web) -> None:
    content = bytes(range(256)) * 3000
    for parts in ((PURPOSE, (FILE, content)), ((FILE, content), PURPOSE)):
        told = web.send_form("/v1/files", *parts).json
        assert (told["bytes"], told["status"], told["object"]) == (len(content), "processed", "file")
        answer = web.ask("GET", f"/v1/files/{told['id']}/content")
        assert answer.body == content
        assert answer.headers["content-disposition"] == f'attachment; filename="{told["id"]}"'


def test_a_name_is_only_shown_and_shown_harmlessly(web: Web) -> None:
    names = {
        "../../etc/cron.d/x.jsonl": "..%2F..%2Fetc%2Fcron.d%2Fx.jsonl",
        "C:\\\\Windows\\\\x.jsonl": "x.jsonl",
        "..\\\\x.jsonl": "..%5Cx.jsonl",
        "a\x01\u202egnp.jsonl": "a\\x01\\u202egnp.jsonl",
        "naïve ☃.jsonl": "naïve ☃.jsonl",
    }
    for name, shown in names.items():
        told = web.send_form("/v1/files", PURPOSE, (f'name="file"; filename="{name}"', TRAINING)).json
        assert told["filename"] == shown
    assert all(path.startswith(("files/file-", "service.db")) for path in _kept(web)), _kept(web)


@pytest.mark.parametrize(
    ("parts", "param"),
    [
        ([PURPOSE], "file"),
        ([(FILE, TRAINING)], "purpose"),
        ([(FILE, TRAINING), ('name="purpose"', b"anything")], "purpose"),
        ([(FILE, TRAINING), ('name="purpose"', b"fine-tune-results")], "purpose"),
        ([('name="file"; filename="t.txt"', TRAINING), PURPOSE], "file"),
        ([(FILE, TRAINING), PURPOSE, ('name="expires_after[anchor]"', b"now")], "expires_after[anchor]"),
        (
            [
                (FILE, TRAINING),
                PURPOSE,
                ('name="expires_after[anchor]"', b"created_at"),
                ('name="expires_after[seconds]"', b"10"),
            ],
            "expires_after[seconds]",
        ),
        ([(FILE, TRAINING), (FILE, TRAINING), PURPOSE], None),
        ([(FILE, TRAINING), *[(f'name="a{number}"', b"b") for number in range(20)], PURPOSE], None),
        ([(FILE, TRAINING), ('name="a"', b"b" * 70_000), PURPOSE], None),
        ([('name="other"; filename="t.jsonl"', TRAINING), PURPOSE], None),
        ([("nothing", TRAINING), PURPOSE], None),
        ([(f'name="{"n" * 500}"', b""), PURPOSE], None),
        ([(f'name="a"; b="{"n" * 9000}"', b""), PURPOSE], None),
    ],
)
def test_a_form_that_cannot_be_used_leaves_nothing(web: Web, parts: list[tuple[str, bytes]], param: str | None) -> None:
    before = _kept(web)
    answer = web.send_form("/v1/files", *parts)
    assert (answer.status, answer.error["param"]) == (400, param)
    assert _kept(web) == before


def test_a_form_that_breaks_off_leaves_nothing(web: Web) -> None:
    before = _kept(web)
    assert web.send_form("/v1/files", PURPOSE, (FILE, TRAINING), end="").error["code"] == "invalid_form"
    assert _kept(web) == before


def test_a_file_that_grows_too_large_leaves_nothing(tmp_path: Path) -> None:
    web = Web(tmp_path, limits={"file_bytes": 1000, "project_bytes": 1500})
    try:
        assert web.send_form("/v1/files", PURPOSE, (FILE, b"x" * 1001)).error["code"] == "request_too_large"
        assert web.send_form("/v1/files", PURPOSE, (FILE, b"x" * 3_000_000)).status == 413
        first = web.file(b"x" * 1000)
        assert web.send_form("/v1/files", PURPOSE, (FILE, b"x" * 501)).error["code"] == "storage_full"
        assert [path for path in _kept(web) if path.startswith("files/")] == [f"files/{first}"]
        assert web.ask("DELETE", f"/v1/files/{first}").json == {"id": first, "object": "file", "deleted": True}
        assert web.file(b"x" * 1000)
    finally:
        web.stop()


def test_a_file_is_gone_once_it_is_deleted(web: Web) -> None:
    file = web.file()
    assert web.ask("DELETE", f"/v1/files/{file}").status == 200
    for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
        answer = web.ask(method, f"/v1/files/{file}{path}")
        assert (answer.status, answer.error["code"]) == (404, "not_found")
    assert not (web.folder / "files" / file).exists()


def test_pages_follow_one_another_without_a_gap(web: Web) -> None:
    made = [web.file(purpose="user_data", name="a.txt") for _ in range(5)]
    with OpenAI(base_url=web.address, api_key=web.key) as client:
        assert [file.id for file in client.files.list(purpose="user_data", limit=2)] == made[::-1]
        assert [file.id for file in client.files.list(purpose="user_data", limit=2, order="asc")] == made
    page = web.ask("GET", "/v1/files?purpose=user_data&limit=2").json
    assert (page["has_more"], page["first_id"], page["last_id"]) == (True, made[4], made[3])
    assert web.ask("GET", "/v1/files?limit=0").json["data"] == []
    assert web.ask("GET", "/v1/files?after=unknown&limit=1").status == 200
    assert web.ask("GET", "/v1/files?limit=-1").error["param"] == "limit"


def test_results_come_in_base64_where_the_settings_say_so(tmp_path: Path) -> None:
    web = Web(tmp_path, base64_results=True)
    try:
        content = b"step,train_loss\n1,0.5\n" * 20_000
        with web.stores.files.begin() as writing:
            writing.write(content)
            record = writing.commit(project="default", filename="r.csv", purpose="fine-tune-results")
        assert base64.b64decode(web.ask("GET", f"/v1/files/{record.id}/content").body, validate=True) == content
        assert web.ask("GET", f"/v1/files/{web.file()}/content").body == TRAINING
    finally:
        web.stop()


def test_an_upload_in_parts_becomes_a_file(web: Web) -> None:
    body = {"bytes": 6, "filename": "t.jsonl", "mime_type": "text/jsonl", "purpose": "fine-tune"}
    upload = web.ask("POST", "/v1/uploads", body).json
    assert (upload["status"], upload["file"]) == ("pending", None)
    parts = [
        web.send_form(f"/v1/uploads/{upload['id']}/parts", ('name="data"; filename="x"', piece)).json["id"]
        for piece in (b"abc", b"def")
    ]
    done = web.ask("POST", f"/v1/uploads/{upload['id']}/complete", {"part_ids": parts[::-1]}).json
    assert (done["status"], done["file"]["bytes"], done["file"]["filename"]) == ("completed", 6, "t.jsonl")
    assert web.ask("GET", f"/v1/files/{done['file']['id']}/content").body == b"defabc"
    again = web.ask("POST", f"/v1/uploads/{upload['id']}/complete", {"part_ids": parts[::-1]}).json
    assert again == done


def test_an_upload_says_why_it_cannot_be_completed(web: Web) -> None:
    body = {"bytes": 3, "filename": "a", "mime_type": "b", "purpose": "batch"}
    upload = web.ask("POST", "/v1/uploads", body).json["id"]
    assert web.ask("POST", f"/v1/uploads/{upload}/complete", {"part_ids": ["part_x"]}).status == 400
    assert web.send_form(f"/v1/uploads/{upload}/parts", ('name="other"', b"x")).error["param"] == "data"
    part = web.send_form(f"/v1/uploads/{upload}/parts", ('name="data"', b"abc")).json["id"]
    wrong = {"part_ids": [part], "md5": "0" * 32}
    assert "MD5" in web.ask("POST", f"/v1/uploads/{upload}/complete", wrong).error["message"]
    assert web.ask("POST", f"/v1/uploads/{upload}/cancel").json["status"] == "cancelled"
    assert web.send_form(f"/v1/uploads/{upload}/parts", ('name="data"', b"abc")).status == 400
    for announced in ({**body, "bytes": -1}, {**body, "purpose": "x"}, {**body, "purpose": "fine-tune"}, {}):
        assert web.ask("POST", "/v1/uploads", announced).status == 400
