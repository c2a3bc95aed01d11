"""Files as strangers have them: each is understood, or answered with one sentence that says what it needs.

`ugly/cases.json` names the files, what is asked for, and what must come out.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fewtune.data.read import read
from fewtune.data.shapes.shape import Columns
from fewtune.errors import FewtuneError

UGLY = Path(__file__).parent / "ugly"
CASES = json.loads((UGLY / "cases.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['file']}: {case['about']}")
def test_a_strangers_file_is_understood_or_told_what_it_needs(case: dict[str, Any]) -> None:
    path = UGLY / case["file"]
    try:
        dataset = read(str(path), columns=Columns(**case.get("options", {})))
    except FewtuneError as error:
        assert case.get("error", "no error") in str(error)
        assert error.fix
        return
    assert "error" not in case
    assert dataset.shape == case["shape"]
    assert len(dataset.examples) == case["rows"]
    assert [dataset.examples[0].prompt, dataset.examples[0].completion] == case["first"]
    assert case.get("note", "") in ("", *dataset.notes)
    assert [example.row for example in dataset.examples] == list(range(len(dataset.examples)))


def test_no_file_lies_about_without_a_case() -> None:
    assert {case["file"] for case in CASES} == {path.name for path in UGLY.iterdir()} - {"cases.json"}
