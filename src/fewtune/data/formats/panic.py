"""Libraries written in Rust answer some damaged files with a panic, which is no ordinary exception."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from fewtune.errors import DataError


@contextmanager
def translated(kinds: tuple[type[Exception], ...], what: str, where: str, fix: str) -> Generator[None]:
    """Whatever a reader raises of these kinds, and its panics, as a DataError."""
    try:
        yield
    except DataError:
        raise
    except kinds as error:
        first = next(iter(str(error).splitlines()), type(error).__name__)
        raise DataError(f"{what}: {first.rstrip('.')}.", where=where, fix=fix) from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise DataError(f"{what}.", where=where, fix=fix) from error
