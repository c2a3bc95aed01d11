"""Hostile files and names: each is answered, and nothing comes to lie where the server did not put it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from urllib.parse import quote

import pytest

from service.attacks import hostile
from service.attacks.attacked_service import Ask, AttackedService

_PARAMETER = re.compile(r"\{(\w+)\}")
_SERVER_NAMED = re.compile(
    r"service\.db(-wal|-shm|\.lock)?|worker-\d+\.sock|(files|parts|models|work|jobs)|files/file-\w{24}|parts/part_\w{24}"
)
_NAMES = 2000
_UPLOADS = 300


def check_folders(service: AttackedService) -> None:
    """The service's folder is all that its parent holds, and the server has named all that is in it."""
    assert [one.name for one in service.folder.parent.iterdir()] == [service.folder.name]
    within = [str(one.relative_to(service.folder)) for one in service.folder.rglob("*")]
    assert [name for name in within if not _SERVER_NAMED.fullmatch(name)] == []
    linked = [one for one in service.folder.rglob("*") if one.is_symlink()]
    assert linked == []


def spelt(name: str) -> Iterator[str]:
    """As it may stand in a path: encoded, and as it is where a client could send it so."""
    yield quote(name.encode("utf-8", "surrogatepass"), safe="")
    if name and name.isascii() and not re.search(r"[\x00-\x20\x7f?#]", name):
        yield name


def asks(service: AttackedService, names: Iterator[str]) -> Iterator[Ask]:
    """Every name for every parameter of every route; the other parameters are right."""
    operations = [one for one in service.operations() if _PARAMETER.search(one.path) and "{rest}" not in one.path]
    for name in names:
        for operation in operations:
            for parameter in _PARAMETER.findall(operation.path):
                for spelling in spelt(name):
                    ids = {**service.red.ids, parameter: spelling}
                    target = _PARAMETER.sub(lambda found, ids=ids: ids[found.group(1)], operation.path)
                    yield Ask(method=operation.method, target=target, headers=_JSON, body=_BODY)


_JSON = (("content-type", "application/json"),)
_BODY = b'{"metadata": {}, "part_ids": [], "project_ids": ["a"]}'


def attack_with_names(service: AttackedService, names: Iterator[str]) -> int:
    sent = 0
    for reply in service.ask_all(asks(service, names)):
        sent += 1
        assert 200 <= reply.status < 500, reply.body
    check_folders(service)
    return sent


def test_no_name_in_a_url_reaches_a_file(attacked: AttackedService) -> None:
    """Every parameter meets some: those that are written down, one after the other, and mixtures."""
    some = list(islice(hostile.names(), 0, _NAMES, 10))
    assert len(some) == _NAMES // 10
    chosen = islice(asks(attacked, iter(some)), 0, None, 7)
    for reply in attacked.ask_all(chosen):
        assert 200 <= reply.status < 500, reply.body
    check_folders(attacked)


@pytest.mark.slow
def test_none_of_two_thousand_names_in_a_url_reaches_a_file(attacked: AttackedService) -> None:
    assert attack_with_names(attacked, islice(hostile.names(), _NAMES)) > 20 * _NAMES


def test_a_name_in_a_body_is_only_text(attacked: AttackedService) -> None:
    names = list(islice(hostile.names(), 0, _NAMES, 40))
    for reply in attacked.ask_all(body_asks(attacked, names)):
        assert 200 <= reply.status < 500, reply.body
    check_folders(attacked)


def body_asks(service: AttackedService, names: list[str]) -> Iterator[Ask]:
    """Every name in each field of a body that is kept."""
    for name in names:
        body = {
            "model": "pocket",
            "training_file": service.red.ids["file_id"],
            "suffix": name,
            "metadata": {"name": name[:512]},
            "integrations": [{"type": "wandb", "wandb": {"project": name, "name": name, "entity": name}}],
        }
        upload = {"filename": name, "purpose": "user_data", "bytes": 1, "mime_type": name}
        yield Ask(method="POST", target="/v1/uploads", headers=_JSON, body=json.dumps(upload).encode())
        for changed in ({}, {"model": name}, {"training_file": name}, {"validation_file": name}):
            sent = json.dumps({**body, **changed}).encode()
            yield Ask(method="POST", target="/v1/fine_tuning/jobs", headers=_JSON, body=sent)


def attack_with_uploads(service: AttackedService, uploads: list[hostile.Upload]) -> None:
    sent = [
        Ask(
            method="POST",
            target="/v1/files",
            headers=[*one.headers, *([("content-type", one.content_type)] if one.content_type else [])],
            body=one.body,
        )
        for one in uploads
    ]
    kept = 0
    for reply in service.ask_all(sent):
        assert 200 <= reply.status < 500, reply.body
        if reply.status == 200:
            kept += 1
            name = reply.json()["filename"]
            assert 0 < len(name) <= 255
            assert not re.search(r"[/\x00-\x1f\x7f\u2028\u202e\u200b]", name)
    assert kept > len(uploads) // 4
    assert len(list((service.folder / "files").iterdir())) == len(service.stores.files.list("red").items) + 1
    check_folders(service)


def test_hostile_uploads_are_refused_or_kept_under_the_servers_name(attacked: AttackedService) -> None:
    attack_with_uploads(attacked, hostile.uploads(_UPLOADS))


def test_the_check_of_folders_sees_what_it_is_for(tmp_path: Path) -> None:
    class Nowhere:
        folder = tmp_path / "service"

    for path in ("service/files/evil", "service/x", "passwd"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
        with pytest.raises(AssertionError):
            check_folders(Nowhere())  # type: ignore[arg-type]
        (tmp_path / path).unlink()
