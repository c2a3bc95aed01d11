"""Files as programs write them, and everything that is in one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fewtune.data.formats import open_data
from fewtune.data.records import Table

WriteFile = Callable[[str, str | bytes], Path]
OpenTable = Callable[[str, str | bytes], Table]


@pytest.fixture
def write(tmp_path: Path) -> WriteFile:
    """A file of that name and content; text is written as UTF-8, its line breaks as they stand."""

    def written(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return written


@pytest.fixture
def opened(write: WriteFile) -> OpenTable:
    """The only table of such a file."""

    def table(name: str, content: str | bytes) -> Table:
        (only,) = open_data(str(write(name, content))).tables
        return only

    return table
