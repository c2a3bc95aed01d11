from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fewtune.data.checks.material import Material
from fewtune.data.checks.runner import check
from fewtune.data.repair import repair
from fewtune.data.task import Task
from fewtune.data.write import write_changes, write_rows
from fewtune.errors import FewtuneError
from fewtune.types import Example

MakeExamples = Callable[[list[tuple[str, str]]], tuple[Example, ...]]


def test_rows_stand_one_a_line_as_readable_text(examples: MakeExamples, tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    write_rows(path, examples([("é\n", '"b"'), ("c", "d")]))
    lines = ['{"prompt": "é\\n", "completion": "\\"b\\""}', '{"prompt": "c", "completion": "d"}', ""]
    assert path.read_bytes() == "\n".join(lines).encode()


def test_no_rows_make_an_empty_file(tmp_path: Path) -> None:
    write_rows(tmp_path / "none.jsonl", ())
    assert (tmp_path / "none.jsonl").read_bytes() == b""


def test_changes_tell_what_was_done_to_which_line(examples: MakeExamples, tmp_path: Path) -> None:
    rows = examples([("a ", "b"), ("c", "")])
    write_changes(
        tmp_path / "repairs.jsonl", repair(rows, check(Material(examples=rows, task=Task(kind="text")))).changes
    )
    dropped, stripped = map(json.loads, (tmp_path / "repairs.jsonl").read_text().splitlines())
    place = {"row": 1, "code": "empty_completion", "file": "rows.csv", "line": 3}
    assert dropped == {**place, "before": {"prompt": "c", "completion": ""}, "after": None}
    assert stripped["before"] == {"prompt": "a ", "completion": "b"}
    assert stripped["after"] == {"prompt": "a", "completion": "b"}


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(examples: MakeExamples, tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    write_rows(path, examples([("a", "b")]))
    old = path.read_bytes()

    def broken() -> object:
        yield from examples([("c", "d")])
        raise OSError(28, "No space left on device")

    with pytest.raises(FewtuneError, match="disk is full"):
        write_rows(path, broken())  # pyright: ignore[reportArgumentType]
    assert (path.read_bytes(), list(tmp_path.iterdir())) == (old, [path])


@pytest.mark.parametrize("place", ["missing/train.jsonl", "file/train.jsonl", "folder"])
def test_a_place_that_cannot_be_written_is_told(examples: MakeExamples, tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(FewtuneError) as caught:
        write_rows(tmp_path / place, examples([("a", "b")]))
    assert caught.value.where == str(tmp_path / place)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
