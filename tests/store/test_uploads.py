from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from fewtune.errors import QuotaError, UsageError
from fewtune.store.files import Files
from fewtune.store.uploads import UploadRecord, Uploads
from standin.clock import Clock


@pytest.fixture
def uploads(engine: Engine, tmp_path: Path, clock: Clock) -> Uploads:
    return Uploads(engine, tmp_path, part_bytes=10, upload_bytes=100, clock=clock)


def announce(uploads: Uploads, size: int = 9, **values: Any) -> UploadRecord:
    plain = {"project": "red", "filename": "rows.jsonl", "purpose": "fine-tune", "mime_type": "text/jsonl"}
    return uploads.create(**{**plain, "bytes": size, **values})


def send(uploads: Uploads, upload: UploadRecord, content: bytes) -> str:
    with uploads.add_part("red", upload.id) as part:
        for byte in content:
            part.write(bytes([byte]))
        return part.commit().id


def in_folder(uploads: Uploads) -> list[str]:
    return os.listdir(uploads.folder) if uploads.folder.exists() else []


def test_parts_become_a_file_in_the_order_that_is_named(uploads: Uploads, engine: Engine, tmp_path: Path) -> None:
    upload = announce(uploads)
    assert (upload.status, upload.bytes, upload.expires_at - upload.created_at) == ("pending", 9, 3600)
    second, unused, first = (send(uploads, upload, content) for content in (b"rows", b"spare", b"some "))
    done = uploads.complete("red", upload.id, [first, second], md5=hashlib.md5(b"some rows").hexdigest().upper())
    assert done.status == "completed" and done.file is not None
    files = Files(engine, tmp_path)
    assert files.get("red", done.file.id) == done.file
    assert files.path(done.file).read_bytes() == b"some rows"
    assert (done.file.filename, done.file.purpose, done.file.expires_at) == ("rows.jsonl", "fine-tune", None)
    assert in_folder(uploads) == []
    assert uploads.get("red", upload.id) == done
    assert unused not in (first, second)


def test_completing_again_gives_the_same_file_and_another_order_is_refused(uploads: Uploads) -> None:
    upload = announce(uploads, 4)
    parts = [send(uploads, upload, content) for content in (b"ab", b"cd")]
    done = uploads.complete("red", upload.id, parts)
    assert uploads.complete("red", upload.id, parts) == done
    with pytest.raises(UsageError, match="completed"):
        uploads.complete("red", upload.id, parts[::-1])


def test_what_does_not_fit_together_leaves_the_upload_pending(uploads: Uploads, tmp_path: Path) -> None:
    upload, other = announce(uploads, 4), announce(uploads, 4)
    one, two = (send(uploads, upload, content) for content in (b"ab", b"cd"))
    foreign = send(uploads, other, b"cd")
    refused = {
        "2 bytes together, and 4 were announced": [one],
        "is named twice": [one, one],
        "not one of the upload's parts": [one, foreign],
        "'part_none' is not": ["part_none"],
    }
    for message, parts in refused.items():
        with pytest.raises(UsageError, match=message):
            uploads.complete("red", upload.id, parts)
    with pytest.raises(UsageError, match="MD5"):
        uploads.complete("red", upload.id, [one, two], md5="0" * 32)
    with pytest.raises(QuotaError):
        uploads.complete("red", upload.id, [one, two], most_bytes=3)
    assert os.listdir(tmp_path / "files") == []
    assert uploads.complete("red", upload.id, [one, two]).status == "completed"


def test_what_is_over_takes_no_part_and_cannot_be_completed(uploads: Uploads, clock: Clock) -> None:
    cancelled, expired = announce(uploads, 2), announce(uploads, 2)
    parts = {one.id: send(uploads, one, b"ab") for one in (cancelled, expired)}
    late = uploads.add_part("red", expired.id)
    assert uploads.cancel("red", cancelled.id) == uploads.cancel("red", cancelled.id)
    assert parts[cancelled.id] not in in_folder(uploads)
    clock.pass_by(3600)
    for upload, status in ((cancelled, "cancelled"), (expired, "expired")):
        found = uploads.get("red", upload.id)
        assert found is not None and found.status == status
        with pytest.raises(UsageError, match=status):
            uploads.add_part("red", upload.id)
        with pytest.raises(UsageError, match=status):
            uploads.complete("red", upload.id, [parts[upload.id]])
    with pytest.raises(UsageError, match="expired"):
        uploads.cancel("red", expired.id)
    with pytest.raises(UsageError, match="expired"):
        late.commit()
    assert in_folder(uploads) == [parts[expired.id]]
    assert uploads.sweep() == 1
    assert in_folder(uploads) == []


def test_a_completed_upload_cannot_be_cancelled(uploads: Uploads) -> None:
    upload = announce(uploads, 2)
    uploads.complete("red", upload.id, [send(uploads, upload, b"ab")])
    with pytest.raises(UsageError, match="completed"):
        uploads.cancel("red", upload.id)


def test_sizes_are_limited(uploads: Uploads) -> None:
    with pytest.raises(UsageError, match="100 bytes"):
        announce(uploads, 101)
    upload = announce(uploads, 6)
    with pytest.raises(UsageError, match="10 bytes"):
        send(uploads, upload, b"x" * 11)
    send(uploads, upload, b"x" * 10)
    with pytest.raises(UsageError, match="more than twice"):
        send(uploads, upload, b"xxx")
    assert len(in_folder(uploads)) == 1


def test_an_upload_is_its_projects_alone(uploads: Uploads) -> None:
    upload = announce(uploads)
    assert uploads.get("blue", upload.id) is None
    assert uploads.cancel("blue", upload.id) is None
    with pytest.raises(UsageError, match="no such upload"):
        uploads.add_part("blue", upload.id)
    with pytest.raises(UsageError, match="no such upload"):
        uploads.complete("blue", upload.id, [])


def test_a_file_may_live_for_so_long_after_it_is_complete(uploads: Uploads, clock: Clock) -> None:
    upload = announce(uploads, 2, file_lives_seconds=7200)
    part = send(uploads, upload, b"ab")
    clock.pass_by(100)
    file = uploads.complete("red", upload.id, [part]).file
    assert file is not None and file.expires_at == int(clock()) + 7200


def test_completed_twice_at_once_it_is_one_file(uploads: Uploads, engine: Engine, tmp_path: Path) -> None:
    upload = announce(uploads, 20)
    parts = [send(uploads, upload, b"0123456789") for _ in range(2)]

    def complete(_: int) -> bool:
        try:
            return uploads.complete("red", upload.id, parts).status == "completed"
        except UsageError:
            return False

    with ThreadPoolExecutor(8) as threads:
        assert any(threads.map(complete, range(8)))
    files = Files(engine, tmp_path)
    assert len(files.list("red").items) == 1
    assert len(os.listdir(files.folder)) == 1
