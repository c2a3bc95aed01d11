"""Every line of the table in docs/shapes.md is recognised as what it stands for."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from fewtune.data.shapes.shape import Shape
from fewtune.types import Example

Read = Callable[[Sequence[Mapping[str, Any]]], tuple[Shape, tuple[Example, ...]]]
TEXT = (Path(__file__).parents[3] / "docs" / "shapes.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| ([\w ]+) \| .* \| `(\{.*\})` \|$", TEXT, re.MULTILINE)


@pytest.mark.parametrize(("name", "line"), ROWS)
def test_a_documented_record_has_its_shape(read_rows: Read, name: str, line: str) -> None:
    shape, examples = read_rows([json.loads(line)])
    assert shape.name == name
    assert len(examples) == (name != "Slack export")


def test_every_line_of_the_table_is_run() -> None:
    table = TEXT.partition("| shape |")[2].partition("\n\n")[0]
    assert len(ROWS) == table.count("\n") - 1
