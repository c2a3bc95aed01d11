from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine

from fewtune.errors import UsageError
from fewtune.store.keys import Caller, Keys
from fewtune.store.service_database import open_service_database
from standin.clock import Clock


def test_a_key_opens_its_project_until_it_is_revoked(engine: Engine) -> None:
    keys = Keys(engine)
    record, secret = keys.create("laptop", "red")
    assert keys.verify(secret) == Caller(key_id=record.id, project="red", admin=False)
    revoked = keys.revoke("laptop")
    assert revoked.id == record.id and revoked.revoked_at is not None
    assert keys.verify(secret) is None
    assert keys.revoke(record.id) == revoked


@pytest.mark.parametrize(
    "change", [str.upper, str.lower, lambda text: text[:-1], lambda text: text + "\n", lambda _: ""]
)
def test_what_is_nearly_a_key_opens_nothing(engine: Engine, change: object) -> None:
    keys = Keys(engine)
    _, secret = keys.create("laptop")
    assert keys.verify(change(secret)) is None  # type: ignore[operator]
    assert keys.verify("\ud800\x00") is None


def test_the_secret_is_nowhere_in_the_database(tmp_path: Path) -> None:
    engine = open_service_database(tmp_path / "service.db")
    record, secret = Keys(engine).create("laptop")
    engine.dispose()
    kept = (tmp_path / "service.db").read_bytes()
    assert record.id.encode() in kept
    middle = secret.removeprefix("sk-fewtune-")[2:-2]
    assert len(secret) == len("sk-fewtune-") + 43
    assert not any(middle[at : at + 8].encode() in kept for at in range(len(middle) - 8))
    assert record.hint == f"{secret[:13]}…{secret[-2:]}"


def test_names_of_live_keys_are_given_once_and_unknown_ones_are_told(engine: Engine) -> None:
    keys = Keys(engine)
    first, _ = keys.create("laptop")
    with pytest.raises(UsageError, match="already"):
        keys.create("laptop", "blue")
    keys.revoke("laptop")
    second, secret = keys.create("laptop", admin=True)
    assert [one.id for one in keys.list()] == [first.id, second.id]
    keys.revoke("laptop")
    assert keys.verify(secret) is None
    with pytest.raises(UsageError, match="no key 'desk'"):
        keys.revoke("desk")
    with pytest.raises(UsageError, match="needs a name"):
        keys.create("")


def test_the_last_use_is_noted_to_the_minute(engine: Engine, clock: Clock) -> None:
    keys = Keys(engine, clock=clock)
    _, secret = keys.create("laptop")
    noted = []
    for seconds in (0, 10, 60):
        clock.pass_by(seconds)
        keys.verify(secret)
        noted.append(keys.list()[0].last_used_at)
    assert noted == [1_800_000_000, 1_800_000_000, 1_800_000_070]


def test_a_key_is_good_while_nothing_can_be_written(tmp_path: Path, clock: Clock) -> None:
    engine = open_service_database(tmp_path / "service.db")
    keys = Keys(engine, clock=clock)
    record, secret = keys.create("laptop")
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA query_only = ON")
    assert keys.verify(secret) == Caller(key_id=record.id, project="default", admin=False)
    assert keys.list()[0].last_used_at is None
    engine.dispose()
