from __future__ import annotations

import hashlib
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, insert

from fewtune.errors import QuotaError, UnfinishedError, UsageError
from fewtune.store.files import FileRecord, Files
from fewtune.store.partial_file import PartialFile
from fewtune.store.service_database import open_service_database, writing
from fewtune.store.service_schema import files as table
from standin.clock import Clock


@pytest.fixture
def files(engine: Engine, tmp_path: Path, clock: Clock) -> Files:
    return Files(engine, tmp_path, clock=clock)


def put(files: Files, content: bytes = b"some rows", project: str = "red", **values: Any) -> FileRecord:
    with files.begin() as file:
        file.write(content)
        return file.commit(project=project, **{"filename": "rows.jsonl", "purpose": "fine-tune", **values})


def on_disk(files: Files) -> list[str]:
    return sorted(os.listdir(files.folder)) if files.folder.exists() else []


def test_a_file_comes_back_as_it_was_given(files: Files) -> None:
    with files.begin() as file:
        for chunk in (b"some ", b"", b"rows"):
            file.write(chunk)
        record = file.commit(project="red", filename="../../etc/passwd", purpose="fine-tune")
    assert files.get("red", record.id) == record
    assert (record.bytes, record.sha256) == (9, hashlib.sha256(b"some rows").hexdigest())
    assert record.filename == "../../etc/passwd"
    assert files.path(record).read_bytes() == b"some rows"
    assert files.path(record) == files.folder / record.id
    assert files.path(record).stat().st_mode & 0o777 == 0o600


def test_a_file_is_its_projects_alone(files: Files) -> None:
    record = put(files)
    assert files.get("blue", record.id) is None
    assert files.list("blue").items == []
    assert not files.delete("blue", record.id)
    assert files.used_bytes("blue") == 0 and files.used_bytes("red") == 9
    assert files.delete("red", record.id) and not files.delete("red", record.id)
    assert files.get("red", record.id) is None and on_disk(files) == []


def test_what_was_begun_and_not_committed_leaves_nothing(files: Files) -> None:
    with pytest.raises(RuntimeError), files.begin() as file:
        file.write(b"half")
        raise RuntimeError
    assert on_disk(files) == [] and files.list("red").items == []


def test_what_was_committed_cannot_be_abandoned(files: Files) -> None:
    file = files.begin()
    file.write(b"all")
    record = file.commit(project="red", filename="a", purpose="fine-tune")
    file.abandon()
    assert files.path(record).read_bytes() == b"all"


def test_a_file_beyond_what_the_project_may_have_is_not_kept(files: Files) -> None:
    kept = put(files, most_bytes=9)
    one_more = files.begin()
    one_more.write(b"x")
    with pytest.raises(QuotaError, match="9 bytes together"):
        one_more.commit(project="red", filename="a", purpose="fine-tune", most_bytes=9)
    put(files, b"x", "blue", most_bytes=9)
    assert [one.id for one in files.list("red").items] == [kept.id]
    assert len(on_disk(files)) == 2


@pytest.mark.parametrize("bad", ["../file", "file-abc123", "/etc/passwd", "", "file-" + "a" * 24 + "/.."])
def test_only_an_id_that_was_made_here_becomes_a_path(files: Files, bad: str) -> None:
    record = replace(put(files), id=bad)
    with pytest.raises(UsageError, match="not one that the service makes"):
        files.path(record)
    outside = files.folder.parent / "file"
    outside.write_text("mine")
    with writing(files.engine) as connection:
        connection.execute(insert(table).values(**vars(record)))
    assert files.delete("red", bad)
    assert outside.read_text() == "mine"


def test_a_file_that_has_expired_is_not_found_and_its_bytes_go(files: Files, clock: Clock) -> None:
    brief, lasting = put(files, expires_at=int(clock()) + 10), put(files)
    clock.pass_by(9)
    assert files.get("red", brief.id) == brief
    clock.pass_by(1)
    assert files.get("red", brief.id) is None
    assert files.list("red").items == [lasting]
    assert files.sweep() == 1
    assert on_disk(files) == [lasting.id] and files.used_bytes("red") == 9


def test_sweeping_takes_what_killed_processes_left_and_nothing_else(files: Files) -> None:
    kept = put(files)
    code = """
import os, sys
from pathlib import Path
from fewtune.store.partial_file import PartialFile
folder = Path(sys.argv[1])
PartialFile(folder).write(b"half")
PartialFile(folder).land("file-" + "a" * 24)
os._exit(9)
"""
    subprocess.run([sys.executable, "-c", code, str(files.folder)], check=False)
    writing_now, landed = files.begin(), PartialFile(files.folder)
    landed.land("file-" + "b" * 24)
    assert len(on_disk(files)) == 5
    assert files.sweep() == 2
    assert len(on_disk(files)) == 3
    record = writing_now.commit(project="red", filename="a", purpose="fine-tune")
    landed.close()
    assert files.sweep() == 1
    assert on_disk(files) == sorted([kept.id, record.id])


def test_lists_are_by_purpose_in_either_order_and_in_pages(files: Files) -> None:
    made = [put(files, purpose=purpose).id for purpose in ("fine-tune", "evals", "fine-tune", "fine-tune")]
    wanted = [made[0], made[2], made[3]]
    assert [one.id for one in files.list("red").items] == made[::-1]
    assert [one.id for one in files.list("red", purpose="fine-tune", order="asc").items] == wanted
    first = files.list("red", purpose="fine-tune", order="asc", limit=2)
    assert [one.id for one in first.items] == wanted[:2] and first.has_more
    second = files.list("red", purpose="fine-tune", order="asc", limit=2, after=wanted[1])
    assert [one.id for one in second.items] == wanted[2:] and not second.has_more
    assert files.list("red", after="nobody").items == files.list("red").items
    assert files.list("red", limit=0).items == []


@contextmanager
def small_disk(size: int) -> Iterator[None]:
    """No file may grow beyond this."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_is_told_and_leaves_nothing(files: Files) -> None:
    with pytest.raises(UnfinishedError, match="disk is full"), small_disk(1_000_000), files.begin() as file:
        for _ in range(40):
            file.write(b"x" * 50_000)
    assert on_disk(files) == []


def test_a_database_that_cannot_be_written_leaves_no_bytes(tmp_path: Path) -> None:
    engine = open_service_database(tmp_path / "service.db")
    files = Files(engine, tmp_path)
    with small_disk(100), pytest.raises(UnfinishedError):
        put(files)
    assert on_disk(files) == []
    assert files.list("red").items == []
    engine.dispose()
