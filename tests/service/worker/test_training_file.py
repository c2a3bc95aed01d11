"""What is read of a training file, and what is said of one that cannot be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fewtune.service.worker.training_file import LONGEST_LINE, Method, TrainingFile, read_training_file

CHAT = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
PREFERENCE = {
    "input": {"messages": [{"role": "user", "content": "a"}]},
    "preferred_output": [{"role": "assistant", "content": "b"}],
    "non_preferred_output": [{"role": "assistant", "content": "c"}],
}


def _read(folder: Path, content: bytes, method: Method = "supervised", **options: Any) -> TrainingFile:
    path = folder / "file"
    path.write_bytes(content)
    return read_training_file(path, "file-x", method, first_row=100, **options)


def _line(value: Any) -> bytes:
    return json.dumps(value).encode() + b"\n"


def test_rows_are_numbered_and_know_their_lines(tmp_path: Path) -> None:
    found = _read(tmp_path, b"\xef\xbb\xbf" + _line(CHAT) + b"\n  \n" + _line(CHAT).rstrip())
    assert [(example.row, example.source.line) for example in found.examples] == [(100, 1), (101, 4)]
    assert found.problem_count == 0


def test_tools_weights_and_names_are_taken(tmp_path: Path) -> None:
    turns = [
        {"role": "user", "name": "Ann", "content": "a"},
        {"role": "assistant", "content": "first", "weight": 0},
        {"role": "user", "content": "c"},
        {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "look", "arguments": "{}"}}]},
    ]
    tool = {"type": "function", "function": {"name": "look", "parameters": {}}}
    (example,) = _read(tmp_path, _line({"messages": turns, "tools": [tool]})).examples
    assert example.messages and [turn.trained for turn in example.messages] == [False, False, False, True]
    assert example.messages[0].name == "Ann"
    assert example.tools == json.dumps([tool])


def test_preferences_are_read_for_dpo_alone(tmp_path: Path) -> None:
    (example,) = _read(tmp_path, _line(PREFERENCE), "dpo").examples
    assert (example.completion, example.rejected) == ("b", "c")
    assert _read(tmp_path, _line(PREFERENCE)).problem_count == 1
    assert _read(tmp_path, _line(CHAT), "dpo").problem_count == 1


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"nonsense\n", "not valid JSON"),
        (b"[1]\n", "not an object"),
        (b"\xff\n", "not valid UTF-8"),
        (b"[" * 5000 + b"\n", "not valid JSON"),
        (b'{"messages": ' + b"[" * 100 + b"]" * 100 + b"}\n", "deeper than 64"),
        (b'{"messages": "' + b"x" * LONGEST_LINE + b'"}\n', "longer than 1 MiB"),
        (_line({"messages": []}), "no turns"),
        (_line({"messages": [{"role": "user", "content": "a"}]}), "no turn of the assistant"),
        (_line({"messages": [{"role": "assistant", "content": "a", "weight": 0}]}), "weight 0"),
        (_line({"messages": [{"role": "assistant", "content": " "}]}), "says nothing"),
        (_line({"prompt": "a", "completion": "b"}), "'messages' is missing"),
        (b'{"messages": [], "messages": []}\n', "not valid JSON"),
        (b'{"messages": [{"role": "assistant", "content": "\\ud800"}]}\n', "half a character"),
    ],
)
def test_a_bad_line_is_told_by_its_number_and_the_others_are_read(tmp_path: Path, line: bytes, said: str) -> None:
    found = _read(tmp_path, _line(CHAT) + line + _line(CHAT))
    assert found.problem_count == 1 and len(found.examples) == 2
    assert found.problems[0].startswith("Line 2: ") and said in found.problems[0]


def test_of_many_bad_lines_the_first_five_are_shown_and_the_others_counted(tmp_path: Path) -> None:
    found = _read(tmp_path, b"x\n" * 12)
    assert found.problem_count == 12 and len(found.problems) == 5
    assert "7 more lines" in found.told


def test_rows_that_the_base_cannot_read_whole_are_left_out(tmp_path: Path) -> None:
    found = _read(tmp_path, _line(CHAT) * 3, fits=lambda example: example.source.line != 2)
    assert [example.row for example in found.examples] == [100, 101]
    assert found.left_out == [2]


def test_completions_that_say_nothing_are_refused(tmp_path: Path) -> None:
    found = _read(tmp_path, _line({"prompt": "", "completion": "b"}) + _line({"prompt": "a", "completion": " "}))
    assert len(found.examples) == 1 and found.problem_count == 1
