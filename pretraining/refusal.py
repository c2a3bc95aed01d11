"""How the commands here end where something cannot be read, written or used."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from fewtune.errors import FewtuneError


@contextmanager
def told() -> Iterator[None]:
    """One line and exit 1, instead of a traceback, for what is wrong with the files."""
    try:
        yield
    except (OSError, ValueError, FewtuneError) as error:
        sys.exit(f"pretraining: {error}")
