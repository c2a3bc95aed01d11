"""Rows as records, and the examples that they give."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from fewtune.data.records import Record
from fewtune.data.shapes.recognise import recognise
from fewtune.data.shapes.shape import Columns, Shape
from fewtune.types import Example, Source

Read = Callable[..., tuple[Shape, tuple[Example, ...]]]


@pytest.fixture(scope="session")
def read_rows() -> Read:
    """Recognises the rows' shape by the first of them, as if they began in the second line of a file."""

    def read(rows: Sequence[Mapping[str, Any]], **asked: str) -> tuple[Shape, tuple[Example, ...]]:
        records = [Record(source=Source(file="rows", line=line), values=row) for line, row in enumerate(rows, 2)]
        columns = tuple(dict.fromkeys(key for row in rows[:20] for key in row))
        shape = recognise(columns, records[:20], Columns(**asked), "rows:1")
        return shape, tuple(shape.examples(records))

    return read
