"""Trackers that behave badly, for the process that a tracker lives in."""

from __future__ import annotations

import os
import time

from fewtune.trackers.contract import Began, Ended, Event, Table, Values


class Deaf:
    """Begins, and never comes back from the first value."""

    def __init__(self, began: Began) -> None:
        self.address = "nowhere"

    def take(self, event: Event) -> None:
        if isinstance(event, Values):
            time.sleep(3600)


class Absent(Deaf):
    """Never even begins."""

    def __init__(self, began: Began) -> None:
        time.sleep(3600)


class Refusing(Deaf):
    def __init__(self, began: Began) -> None:
        raise PermissionError("the key is not known\nand more that nobody needs")


class Raising(Deaf):
    """Keeps whatever is no value."""

    def __init__(self, began: Began) -> None:
        super().__init__(began)
        self._kept = began.folder / "kept"

    def take(self, event: Event) -> None:
        if isinstance(event, Values):
            raise ValueError("no room for values")
        with self._kept.open("a") as kept:
            kept.write(type(event).__name__ + "\n")


class Crashing(Deaf):
    def take(self, event: Event) -> None:
        os.abort()


class Slow(Raising):
    """Takes a tenth of a second for everything, and says what the environment and stdin are."""

    def take(self, event: Event) -> None:
        time.sleep(0.1)
        if isinstance(event, Ended | Table):
            keys = sorted(name for name, value in os.environ.items() if value == "sk-secret")
            said = f"{type(event).__name__} {keys} {os.read(0, 10)!r}\n"
            print("printed by a library")
            with self._kept.open("a") as kept:
                kept.write(said)
