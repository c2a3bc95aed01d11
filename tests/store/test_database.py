from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from sqlalchemy import text

from fewtune.errors import UsageError
from fewtune.store.database import MIGRATIONS, open_database, schema
from fewtune.store.runs import FILE_NAME, Runs
from standin.processes import forkserver


def pragma(path: Path, name: str) -> object:
    with open_database(path).connect() as connection:
        return connection.execute(text(f"PRAGMA {name}")).scalar_one()


def test_a_new_file_has_every_table_and_the_newest_version(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "state.db"
    with open_database(path).connect() as connection:
        tables = set(connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'table'")).scalars())
    assert tables == set(schema.tables)
    assert pragma(path, "user_version") == len(MIGRATIONS)


def test_opening_again_keeps_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with open_database(path).begin() as connection:
        connection.execute(text("INSERT INTO checkpoints VALUES ('r', 't', 1, 2, 'm', NULL)"))
    with open_database(path).connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM checkpoints")).scalar_one() == 1


def test_what_was_acknowledged_survives_a_power_cut(tmp_path: Path) -> None:
    assert pragma(tmp_path / "state.db", "journal_mode") == "wal"
    full = 2
    assert pragma(tmp_path / "state.db", "synchronous") == full


def test_a_file_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    open_database(path)
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    connection.close()
    with pytest.raises(UsageError, match=r"newer fewtune.*pip install -U fewtune") as caught:
        open_database(path)
    assert caught.value.where == str(path)
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS) + 1,)
    connection.close()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(b"these are not the tables you are looking for " * 50)
    with pytest.raises(UsageError, match=r"cannot be used.*FEWTUNE_HOME"):
        open_database(path)


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="state folder"):
        open_database(tmp_path / "file" / "state.db")
    (tmp_path / "state.db").mkdir()
    with pytest.raises(UsageError, match="cannot be used"):
        open_database(tmp_path / "state.db")


def test_processes_that_open_a_new_file_at_once_all_succeed(tmp_path: Path) -> None:
    context = forkserver()
    for attempt in range(3):
        home = tmp_path / str(attempt)
        processes = [context.Process(target=Runs, args=(home,)) for _ in range(4)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        assert [process.exitcode for process in processes] == [0] * 4
        assert pragma(home / FILE_NAME, "user_version") == len(MIGRATIONS)


def test_threads_that_open_a_new_file_at_the_same_moment_all_succeed(tmp_path: Path) -> None:
    with ThreadPoolExecutor(6) as threads:
        for attempt in range(5):
            barrier, path = Barrier(6), tmp_path / f"{attempt}.db"

            def open_together(barrier: Barrier = barrier, path: Path = path) -> None:
                barrier.wait()
                open_database(path)

            for opened in [threads.submit(open_together) for _ in range(6)]:
                opened.result()
            assert pragma(path, "user_version") == len(MIGRATIONS)


def test_a_file_from_before_exact_rows_were_kept_gets_the_column_and_keeps_its_points(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with open_database(path).begin() as connection:
        columns = "run_id, trial_id, step, epoch, tokens, seconds"
        connection.execute(text(f"INSERT INTO points ({columns}) VALUES ('r', 't', 1, 1, 5, 0)"))
        connection.execute(text("ALTER TABLE points DROP COLUMN valid_row_exact"))
        connection.execute(text("PRAGMA user_version = 4"))
    with open_database(path).connect() as connection:
        assert connection.execute(text("SELECT tokens, valid_row_exact FROM points")).one() == (5, None)
