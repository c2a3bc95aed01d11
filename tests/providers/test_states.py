from __future__ import annotations

from pathlib import Path

import pytest

from fewtune.errors import UsageError
from fewtune.providers.states import States


def test_what_was_saved_is_loaded_by_another_process(tmp_path: Path) -> None:
    States(tmp_path / "new").save("a", {"step": 3})
    assert States(tmp_path / "new").known("a")
    assert States(tmp_path / "new").load("a") == {"step": 3}


def test_a_state_is_replaced_and_leaves_nothing_else_behind(tmp_path: Path) -> None:
    states = States(tmp_path)
    for step in range(3):
        states.save("a", {"step": step})
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("handle", ["", ".", "..", "../a", "a/b", "a\\b", "/a", "-a", "a\n", "a" * 101])
def test_a_name_that_could_leave_the_folder_is_refused(tmp_path: Path, handle: str) -> None:
    with pytest.raises(UsageError):
        States(tmp_path).save(handle, {})
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_handle_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'nobody'"):
        States(tmp_path).load("nobody")


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(UsageError, match="Could not keep"):
        States(tmp_path / "file").save("a", {})
