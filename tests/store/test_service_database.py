from __future__ import annotations

import sqlite3
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from sqlalchemy import Engine, insert, select, text, update

from fewtune.errors import ProviderError, UnfinishedError, UsageError
from fewtune.store.service_database import open_service_database, reading, writing
from fewtune.store.service_schema import MIGRATIONS, files, schema, versions
from standin.postgresql import PostgreSQL


def a_file(name: str) -> dict[str, object]:
    whole = {"bytes": 1, "created_at": 1, "sha256": "0", "status": "processed", "purpose": "fine-tune"}
    return {**whole, "id": name, "project": "red", "filename": name}


def version(engine: Engine) -> list[int]:
    with reading(engine) as connection:
        return list(connection.execute(select(versions.c.version).order_by(versions.c.version)).scalars())


def test_a_new_database_has_every_table_and_the_newest_version(engine: Engine) -> None:
    with reading(engine) as connection:
        for table in schema.tables.values():
            assert connection.execute(select(table)).all() == [] or table is versions
    assert version(engine) == list(range(1, len(MIGRATIONS) + 1))


def test_opening_again_keeps_what_is_there(engine: Engine, where: str | Path) -> None:
    with writing(engine) as connection:
        connection.execute(insert(files).values(**a_file("a")))
    again = open_service_database(where)
    with reading(again) as connection:
        assert connection.execute(select(files.c.id)).scalars().all() == ["a"]
    again.dispose()


def test_a_database_of_a_newer_version_is_refused_and_left_alone(engine: Engine, where: str | Path) -> None:
    newer = len(MIGRATIONS) + 1
    with writing(engine) as connection:
        connection.execute(insert(versions).values(version=newer, applied_at=0))
    with pytest.raises(UsageError, match=r"newer fewtune.*pip install -U fewtune"):
        open_service_database(where)
    assert version(engine)[-1] == newer


def test_threads_that_open_a_new_database_at_the_same_moment_all_succeed(where: str | Path) -> None:
    barrier = Barrier(6)

    def open_together() -> list[int]:
        barrier.wait()
        opened = open_service_database(where)
        found = version(opened)
        opened.dispose()
        return found

    with ThreadPoolExecutor(6) as threads:
        found = [one.result() for one in [threads.submit(open_together) for _ in range(6)]]
    assert found == [list(range(1, len(MIGRATIONS) + 1))] * 6


def test_what_fails_within_a_transaction_leaves_nothing(engine: Engine) -> None:
    with pytest.raises(RuntimeError), writing(engine) as connection:
        connection.execute(insert(files).values(**a_file("a")))
        raise RuntimeError
    with reading(engine) as connection:
        assert connection.execute(select(files.c.id)).all() == []


def test_writers_that_read_first_come_one_after_the_other(engine: Engine) -> None:
    with writing(engine) as connection:
        connection.execute(insert(files).values(**a_file("a")))

    def add_one(_: int) -> None:
        with writing(engine) as connection:
            now = connection.execute(select(files.c.bytes)).scalar_one()
            connection.execute(update(files).values(bytes=now + 1))

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(add_one, range(64)))
    with reading(engine) as connection:
        assert connection.execute(select(files.c.bytes)).scalar_one() == 65


def test_a_reader_does_not_wait_for_a_writer(engine: Engine) -> None:
    with writing(engine) as connection:
        connection.execute(insert(files).values(**a_file("a")))
        with reading(engine) as other:
            assert other.execute(select(files.c.id)).all() == []


def test_text_that_no_database_can_hold_is_kept_with_marks_and_finds_nothing(engine: Engine) -> None:
    with writing(engine) as connection:
        connection.execute(insert(files).values(**a_file("a") | {"filename": "x\x00y\ud800z"}))
    with reading(engine) as connection:
        assert connection.execute(select(files.c.filename)).scalar_one() == "x\ufffdy?z"
        assert connection.execute(select(files.c.id).where(files.c.id == "a\x00")).all() == []
        assert connection.execute(select(files.c.id).where(files.c.id == "a\ud800")).all() == []


class TestSQLite:
    def test_what_was_acknowledged_survives_a_power_cut(self, tmp_path: Path) -> None:
        engine = open_service_database(tmp_path / "service.db")
        with reading(engine) as connection:
            said = {
                name: connection.execute(text(f"PRAGMA {name}")).scalar_one()
                for name in ("journal_mode", "synchronous", "foreign_keys")
            }
            assert connection.execute(text("PRAGMA busy_timeout")).scalar_one() >= 5000
        engine.dispose()
        full = 2
        assert said == {"journal_mode": "wal", "synchronous": full, "foreign_keys": 1}

    def test_nobody_else_may_read_it(self, tmp_path: Path) -> None:
        engine = open_service_database(tmp_path / "service" / "service.db")
        with writing(engine) as connection:
            connection.execute(insert(files).values(**a_file("a")))
        modes = {one.name: one.stat().st_mode & 0o777 for one in (tmp_path / "service").iterdir()}
        engine.dispose()
        assert {modes[f"service.db{ending}"] for ending in ("", "-wal", "-shm")} == {0o600}
        assert (tmp_path / "service").stat().st_mode & 0o777 == 0o700

    def test_a_file_that_is_no_database_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "service.db").write_bytes(b"these are not the tables you are looking for " * 50)
        with pytest.raises(UsageError, match=r"cannot be used.*fewtune restore"):
            open_service_database(tmp_path / "service.db")

    def test_a_place_that_cannot_be_written_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(UsageError, match="service's folder"):
            open_service_database(tmp_path / "file" / "service.db")
        (tmp_path / "service.db").mkdir()
        with pytest.raises(UsageError, match="cannot be used"):
            open_service_database(tmp_path / "service.db")

    def test_a_writer_that_waits_too_long_is_told_to_try_again(self, tmp_path: Path) -> None:
        engine = open_service_database(tmp_path / "service.db")
        other = sqlite3.connect(tmp_path / "service.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA busy_timeout=10")
        with pytest.raises(UnfinishedError, match="locked"), writing(engine):
            pass
        other.close()
        engine.dispose()


SECRET = "open-sesame"


class TestPostgreSQL:
    @pytest.mark.parametrize("query", ["", f"?password={SECRET}", f"?sslmode={SECRET}"])
    def test_a_server_that_does_not_answer_is_told_without_the_password(self, query: str) -> None:
        pytest.importorskip("psycopg")
        with pytest.raises(ProviderError, match="does not answer") as caught:
            open_service_database(f"postgresql://me:{SECRET}@127.0.0.1:1/base{query}")
        assert caught.value.where == "127.0.0.1:1/base"
        assert SECRET not in str(caught.value) and caught.value.__cause__ is None

    def test_an_unknown_database_is_told(self, postgresql: PostgreSQL) -> None:
        with pytest.raises(ProviderError, match="does not exist"):
            open_service_database(postgresql.url("nothing_here"))

    @pytest.mark.parametrize(
        "url", [f"mysql://me:{SECRET}@host/base", f"postgresql://me:{SECRET}@host:port/base", "://"]
    )
    def test_a_url_that_cannot_be_used_is_refused_without_the_password(self, url: str) -> None:
        with pytest.raises(UsageError, match="postgresql://USER:PASSWORD@HOST/DATABASE") as caught:
            open_service_database(url)
        assert SECRET not in str(caught.value) and caught.value.__cause__ is None

    def test_a_password_with_an_at_sign_is_not_taken_for_a_host_and_shown(self) -> None:
        with pytest.raises(UsageError, match="%40") as caught:
            open_service_database(f"postgresql://me:a@{SECRET}@127.0.0.1:1/base")
        assert SECRET not in str(caught.value)

    def test_without_its_driver_the_extra_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "psycopg", None)
        with pytest.raises(UsageError, match=r"fewtune\[postgresql\]"):
            open_service_database("postgresql://me@127.0.0.1:1/base")

    def test_a_database_that_does_not_keep_unicode_is_refused(self, postgresql: PostgreSQL) -> None:
        postgresql.say("CREATE DATABASE ascii ENCODING 'SQL_ASCII' TEMPLATE template0")
        with pytest.raises(UsageError, match=r"SQL_ASCII.*createdb --encoding UTF8"):
            open_service_database(postgresql.url("ascii"))

    def test_a_server_that_comes_back_is_used_again(self, postgresql: PostgreSQL) -> None:
        engine = open_service_database(postgresql.new_schema())
        with engine.connect() as connection:
            connection.exec_driver_sql("SELECT 1")
            ours = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        postgresql.say(f"SELECT pg_terminate_backend({ours})")
        assert version(engine)
        engine.dispose()
