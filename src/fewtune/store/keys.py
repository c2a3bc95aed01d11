"""API keys: told once, stored as digests, each with a project."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy import Engine, insert, or_, select, update

from fewtune.errors import UnfinishedError, UsageError
from fewtune.store.identifiers import new_id
from fewtune.store.rows import as_record
from fewtune.store.service_database import reading, writing
from fewtune.store.service_schema import keys

BEGINNING = "sk-fewtune-"
_SECONDS_BETWEEN_USES = 60
"""A use within so long of the last that was noted is not noted: a request should not cost a write."""


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who asks, and for whose rows."""

    key_id: str
    project: str
    admin: bool


@dataclass(frozen=True, kw_only=True)
class KeyRecord:
    """What may be shown of a key; all moments are Unix seconds."""

    id: str
    name: str
    project: str
    admin: bool
    created_at: int
    last_used_at: int | None
    """To the minute."""
    revoked_at: int | None
    hint: str
    """Its first and last two characters."""


class Keys:
    def __init__(self, engine: Engine, *, clock: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._clock = clock

    def create(self, name: str, project: str = "default", *, admin: bool = False) -> tuple[KeyRecord, str]:
        """A new key and its secret, which is told only here. Raises UsageError where a live key has the name."""
        if not name or not project:
            raise UsageError("A key needs a name and a project.", fix="Give both.")
        secret = BEGINNING + secrets.token_urlsafe(32)
        record = KeyRecord(
            id=new_id("key"),
            name=name,
            project=project,
            admin=admin,
            created_at=int(self._clock()),
            last_used_at=None,
            revoked_at=None,
            hint=f"{secret[: len(BEGINNING) + 2]}…{secret[-2:]}",
        )
        with writing(self._engine) as connection:
            live = select(keys.c.id).where(keys.c.name == name, keys.c.revoked_at.is_(None))
            if connection.execute(live).first():
                raise UsageError(
                    f"There is a key named {name!r} already.", fix="Revoke it first, or take another name."
                )
            connection.execute(insert(keys).values(**vars(record), digest=_digest(secret)))
            stored = connection.execute(select(keys).where(keys.c.id == record.id)).mappings().one()
        return as_record(KeyRecord, stored), secret

    def verify(self, secret: str) -> Caller | None:
        """Whose key it is; None where it is unknown or revoked. Asked of the database at every call."""
        digest, now = _digest(secret), int(self._clock())
        with reading(self._engine) as connection:
            row = connection.execute(select(keys).where(keys.c.digest == digest)).mappings().first()
        # The index finds by a digest that no caller can steer, and what it found is compared in constant time.
        if row is None or not hmac.compare_digest(row["digest"], digest) or row["revoked_at"] is not None:
            return None
        if now - (row["last_used_at"] or 0) >= _SECONDS_BETWEEN_USES:
            # A full disk must not shut out those who come to read, or to delete.
            with suppress(UnfinishedError), writing(self._engine) as connection:
                connection.execute(update(keys).where(keys.c.id == row["id"]).values(last_used_at=now))
        return Caller(key_id=row["id"], project=row["project"], admin=row["admin"])

    def list(self) -> list[KeyRecord]:
        """All of them, revoked ones too, in the order they were made."""
        with reading(self._engine) as connection:
            return [
                as_record(KeyRecord, row) for row in connection.execute(select(keys).order_by(keys.c.number)).mappings()
            ]

    def revoke(self, key_id_or_name: str) -> KeyRecord:
        """From now on it is nobody's; revoking it again leaves it as it is. Raises UsageError where there is none."""
        with writing(self._engine) as connection:
            named = or_(keys.c.id == key_id_or_name, keys.c.name == key_id_or_name)
            # Of keys that had the name one after another, the one that is live, else the newest.
            newest = select(keys).where(named).order_by(keys.c.revoked_at.is_not(None), keys.c.number.desc())
            row = connection.execute(newest).mappings().first()
            if row is None:
                raise UsageError(f"There is no key {key_id_or_name!r}.", fix="See them with: fewtune keys list.")
            revoked = {**row, "revoked_at": row["revoked_at"] or int(self._clock())}
            connection.execute(update(keys).where(keys.c.id == row["id"]).values(revoked_at=revoked["revoked_at"]))
        return as_record(KeyRecord, revoked)


def _digest(secret: str) -> str:
    # A secret of 256 random bits needs no slow hash: there is nothing to guess.
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
