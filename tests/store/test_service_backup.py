from __future__ import annotations

import io
import json
import os
import sqlite3
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from fewtune.errors import UsageError
from fewtune.store.files import Files
from fewtune.store.jobs import Jobs
from fewtune.store.keys import Keys
from fewtune.store.models import Models
from fewtune.store.queue import Queue
from fewtune.store.service_backup import backup, restore
from fewtune.store.service_database import open_service_database
from fewtune.store.uploads import Uploads
from standin.service_jobs import create


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "service"


@pytest.fixture
def live(folder: Path) -> Iterator[Engine]:
    engine = open_service_database(folder / "service.db")
    yield engine
    engine.dispose()


def put(files: Files, content: bytes = b"rows") -> str:
    with files.begin() as file:
        file.write(content)
        return file.commit(project="red", filename="rows.jsonl", purpose="fine-tune").id


def fill(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def furnish(engine: Engine, folder: Path) -> tuple[str, str, str]:
    """A service with something of each kind: the ids of a file, an unfinished and an ended job."""
    jobs, models, queue = Jobs(engine), Models(engine, folder), Queue(engine)
    Keys(engine).create("laptop", "red")
    file = put(Files(engine, folder))
    ended, unfinished = create(jobs, "1").id, create(jobs, "2").id
    queue.end(queue.claim("w", seconds=30)[0], "succeeded", fine_tuned_model="ft:m")
    fill(models.place("ft:m") / "adapter_model.safetensors", b"weights")
    models.add(name="ft:m", project="red", base="pocket", kind="tuned", job=ended)
    models.add(name="run", project="red", base="pocket", kind="run", folder=folder.parent / "elsewhere")
    uploads = Uploads(engine, folder)
    upload = uploads.create(project="red", filename="f", purpose="p", bytes=2, mime_type="m")
    with uploads.add_part("red", upload.id) as part:
        part.write(b"ab")
        part.commit()
    for job in (ended, unfinished):
        fill(folder / "work" / "pocket" / job / "step-00000003" / "state.json", b"{}")
        fill(folder / "work" / "pocket" / f"{job}.json", b"{}")
        fill(folder / "jobs" / job / "rows.jsonl", b"rows")
    fill(folder / "files" / ".partial-0", b"half")
    fill(folder / "unknown" / "thing")
    return file, unfinished, ended


def tree(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def told(engine: Engine, folder: Path) -> list[object]:
    files, jobs, models = Files(engine, folder), Jobs(engine), Models(engine, folder)
    return [
        Keys(engine).list(),
        files.list("red"),
        [files.path(one).read_bytes() for one in files.list("red").items],
        [(job, jobs.events("red", job.id), jobs.checkpoints("red", job.id)) for job in jobs.list("red").items],
        [(one.name, one.key, one.kind) for one in models.list("red")],
    ]


def test_what_is_restored_is_what_was_there(live: Engine, folder: Path, tmp_path: Path) -> None:
    file, unfinished, _ = furnish(live, folder)
    target, home = tmp_path / "backups" / "service.tar", tmp_path / "restored"
    made = backup(live, folder, target)
    assert target.stat().st_mode & 0o777 == 0o600 and made.left_out == ()
    assert os.listdir(target.parent) == ["service.tar"]
    home.mkdir()
    assert restore(target, home) == made
    model = Models(live, folder).place("ft:m").name
    (part,) = os.listdir(folder / "parts")
    assert tree(home) == {
        "service.db",
        f"files/{file}",
        f"parts/{part}",
        f"models/{model}/adapter_model.safetensors",
        f"work/pocket/{unfinished}/step-00000003/state.json",
        f"work/pocket/{unfinished}.json",
        f"jobs/{unfinished}/rows.jsonl",
    }
    restored = open_service_database(home / "service.db")
    assert told(restored, home) == told(live, folder)
    found = Models(restored, home).get("red", "ft:m")
    assert found is not None and (found.folder / "adapter_model.safetensors").read_bytes() == b"weights"
    restored.dispose()
    assert home.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in home.rglob("*") if path.is_dir()} == {0o700}


def test_a_backup_while_others_write_is_of_one_moment(live: Engine, folder: Path, tmp_path: Path) -> None:
    files, jobs, over = Files(live, folder), Jobs(live), threading.Event()
    acknowledged: list[str] = []
    deleted: list[str] = []

    def write() -> None:
        while not over.is_set():
            file = put(files, b"rows" * len(acknowledged))
            create(jobs, file, training_file=file)
            acknowledged.append(file)
            if len(acknowledged) % 3 == 0:
                deleted.append(acknowledged[len(acknowledged) // 2])
                files.delete("red", deleted[-1])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for attempt in range(4):
            before, home = list(acknowledged), tmp_path / str(attempt)
            backup(live, folder, tmp_path / f"{attempt}.tar")
            restore(tmp_path / f"{attempt}.tar", home)
            engine = open_service_database(home / "service.db")
            there = Files(engine, home)
            known = there.list("red").items
            assert all(there.path(one).stat().st_size == one.bytes for one in known)
            assert {one.id for one in known} == set(os.listdir(there.folder) if known else [])
            assert set(before) - set(deleted) <= {one.id for one in known}
            assert set(before) <= {job.training_file for job in Jobs(engine).list("red", limit=10_000).items}
            engine.dispose()
    finally:
        over.set()
        writer.join()
    assert deleted


def test_what_was_deleted_while_the_backup_was_taken_is_left_out_and_told(
    live: Engine, folder: Path, tmp_path: Path
) -> None:
    file, *_ = furnish(live, folder)
    (folder / "files" / file).unlink()
    (Models(live, folder).place("ft:m") / "adapter_model.safetensors").unlink()
    assert backup(live, folder, tmp_path / "b.tar").left_out == (file, "ft:m")
    restore(tmp_path / "b.tar", tmp_path / "restored")
    engine = open_service_database(tmp_path / "restored" / "service.db")
    assert Files(engine, tmp_path / "restored").list("red").items == []
    assert [one.name for one in Models(engine, tmp_path / "restored").list("red")] == ["run"]
    engine.dispose()


def test_a_database_that_a_job_is_writing_comes_along_whole(live: Engine, folder: Path, tmp_path: Path) -> None:
    _, unfinished, _ = furnish(live, folder)
    home = folder / "jobs" / unfinished
    writer = sqlite3.connect(home / "fewtune.db", isolation_level=None)
    writer.execute("PRAGMA journal_mode=WAL")
    writer.execute("CREATE TABLE runs AS SELECT 7 AS number")
    fill(home / "not.db", b"no database at all")
    backup(live, folder, tmp_path / "b.tar")
    writer.close()
    restore(tmp_path / "b.tar", tmp_path / "restored")
    restored = tmp_path / "restored" / "jobs" / unfinished
    assert sorted(os.listdir(restored)) == ["fewtune.db", "not.db", "rows.jsonl"]
    reader = sqlite3.connect(restored / "fewtune.db")
    assert reader.execute("SELECT number FROM runs").fetchall() == [(7,)]
    reader.close()


def test_no_link_is_followed(live: Engine, folder: Path, tmp_path: Path) -> None:
    _, unfinished, _ = furnish(live, folder)
    secret = fill(tmp_path / "secret" / "file", b"secret")
    (folder / "jobs" / unfinished / "link").symlink_to(secret)
    (folder / "jobs" / unfinished / "folder").symlink_to(secret.parent)
    backup(live, folder, tmp_path / "b.tar")
    assert b"secret" not in (tmp_path / "b.tar").read_bytes()


def test_a_backup_never_replaces_a_file_and_a_restore_never_fills_a_folder(
    live: Engine, folder: Path, tmp_path: Path
) -> None:
    fill(tmp_path / "there.tar", b"mine")
    with pytest.raises(UsageError, match="exists already"):
        backup(live, folder, tmp_path / "there.tar")
    backup(live, folder, tmp_path / "b.tar")
    for place in (folder, tmp_path / "there.tar"):
        with pytest.raises(UsageError, match="not empty"):
            restore(tmp_path / "b.tar", place)
    assert (tmp_path / "there.tar").read_bytes() == b"mine"
    with pytest.raises(UsageError, match="restore the backup"):
        restore(tmp_path / "none.tar", tmp_path / "new")
    with pytest.raises(UsageError, match="write the backup"):
        backup(live, folder, tmp_path / "there.tar" / "b.tar")


def test_of_postgresql_no_backup_is_taken(engine: Engine, tmp_path: Path) -> None:
    if engine.dialect.name == "sqlite":
        pytest.skip("for the other database")
    with pytest.raises(UsageError, match=r"pg_dump.*files, parts, models, work and jobs"):
        backup(engine, tmp_path, tmp_path / "b.tar")


Members = list[tuple[tarfile.TarInfo, bytes]]


def rewritten(source: Path, change: Callable[[Members], Members]) -> Path:
    with tarfile.open(source) as tar:
        members = [(member, (tar.extractfile(member) or io.BytesIO()).read()) for member in tar]
    target = source.with_name("changed.tar")
    with tarfile.open(target, "w") as tar:
        for member, content in change(members):
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return target


def hostile(name: str, **values: object) -> Callable[[Members], Members]:
    """A member of this name, which the manifest knows as well."""
    member = tarfile.TarInfo(name)
    for key, value in values.items():
        setattr(member, key, value)

    def change(members: Members) -> Members:
        manifest = json.loads(members[-1][1])
        manifest["members"][name] = {"bytes": 0, "sha256": ""}
        return [*members[:-1], (member, b""), (members[-1][0], json.dumps(manifest).encode())]

    return change


DAMAGE: dict[str, Callable[[Members], Members]] = {
    "a changed byte": lambda members: [
        (one, content[:-1] + b"!" if "files/" in one.name else content) for one, content in members
    ],
    "a changed database": lambda members: [
        (one, content[::-1] if one.name == "service.db" else content) for one, content in members
    ],
    "a missing file": lambda members: [one for one in members if "files/" not in one[0].name],
    "no manifest": lambda members: members[:-1],
    "a manifest that is not last": lambda members: members[::-1],
    "no database": lambda members: [one for one in members if one[0].name != "service.db"],
    "nothing": lambda members: [],
    "a file twice": lambda members: [members[0], *members],
    "a stranger": lambda members: [(tarfile.TarInfo("files/stranger"), b""), *members],
    "above": hostile("../above"),
    "above by a folder": hostile("files/../../above"),
    "absolute": hostile("/tmp/fewtune-absolute"),
    "elsewhere": hostile("unknown/file"),
    "link": hostile("files/link", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    "hard link": hostile("files/link", type=tarfile.LNKTYPE, linkname="service.db"),
    "device": hostile("files/device", type=tarfile.CHRTYPE),
    "folder": hostile("files/folder", type=tarfile.DIRTYPE),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_backup_that_is_not_whole_or_that_reaches_out_is_refused_and_leaves_nothing(
    live: Engine, folder: Path, tmp_path: Path, damage: str
) -> None:
    furnish(live, folder)
    backup(live, folder, tmp_path / "b.tar")
    changed = rewritten(tmp_path / "b.tar", DAMAGE[damage])
    before = tree(tmp_path) - {"b.tar"}
    with pytest.raises(UsageError, match="cannot be used"):
        restore(changed, tmp_path / "restored")
    assert tree(tmp_path) - {"b.tar"} == before
    assert not (tmp_path / "restored").exists() and not Path("/tmp/fewtune-absolute").exists()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_a_backup_that_was_cut_off_is_refused(live: Engine, folder: Path, tmp_path: Path, share: float) -> None:
    furnish(live, folder)
    backup(live, folder, tmp_path / "b.tar")
    whole = (tmp_path / "b.tar").read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(UsageError, match="cannot be used"):
        restore(tmp_path / "cut.tar", tmp_path / "restored")


def test_a_backup_of_a_newer_version_is_refused(live: Engine, folder: Path, tmp_path: Path) -> None:
    backup(live, folder, tmp_path / "b.tar")

    def newer(members: Members) -> Members:
        manifest = json.loads(members[-1][1])
        return [*members[:-1], (members[-1][0], json.dumps({**manifest, "version": 2}).encode())]

    with pytest.raises(UsageError, match="newer fewtune"):
        restore(rewritten(tmp_path / "b.tar", newer), tmp_path / "restored")
