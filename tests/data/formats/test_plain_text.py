from __future__ import annotations

import pytest

from data.formats.conftest import OpenTable
from fewtune.errors import DataError


def test_every_line_that_is_not_blank_is_a_completion(opened: OpenTable) -> None:
    table = opened("lines.txt", 'one, two\r\n\r\n  \n "three"\rfour\u2028five')
    assert (table.columns, table.first_line) == (("completion",), 1)
    assert [(record.source.line, record.values["completion"]) for record in table.records] == [
        (1, "one, two"),
        (4, ' "three"'),
        (5, "four\u2028five"),
    ]


def test_a_file_of_blank_lines_is_empty(opened: OpenTable) -> None:
    with pytest.raises(DataError, match="is empty"):
        opened("blank.txt", "\n \n")
