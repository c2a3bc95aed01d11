"""Rows made from pairs of texts, and files made from text or bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from fewtune.types import Example, Source

MakeExamples = Callable[[Sequence[tuple[str, str]]], tuple[Example, ...]]
MakeFile = Callable[[str, str | bytes], Path]


@pytest.fixture(scope="session")
def examples() -> MakeExamples:
    """Rows as they would be read from a file with one row a line."""

    def make(pairs: Sequence[tuple[str, str]]) -> tuple[Example, ...]:
        return tuple(
            Example(row=row, prompt=prompt, completion=completion, source=Source(file="rows.csv", line=row + 2))
            for row, (prompt, completion) in enumerate(pairs)
        )

    return make


@pytest.fixture(scope="session")
def write_file(tmp_path_factory: pytest.TempPathFactory) -> MakeFile:
    """A file of that name and content; text is written as UTF-8, its line breaks as they stand."""
    folder = tmp_path_factory.mktemp("files")

    def write(name: str, content: str | bytes) -> Path:
        path = folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write
