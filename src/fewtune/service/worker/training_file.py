"""A training or validation file as examples, or everything that is wrong with it, by line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from fewtune.data.formats.json_values import record_of, value_of
from fewtune.data.records import Record
from fewtune.data.shapes.chat import Chat
from fewtune.data.shapes.pairs import Pairs
from fewtune.data.shapes.preference import OpenAIPreference
from fewtune.data.shapes.shape import Shape
from fewtune.errors import DataError
from fewtune.types import Example, Source

Method = Literal["supervised", "dpo"]

LONGEST_LINE = 2**20
"""Bytes."""
MOST_ROWS = 2**23 - 1
_MOST_LEVELS = 64
_SHOWN = 5
_MARK = b"\xef\xbb\xbf"

_Check = Callable[[Example], str | None]


@dataclass(kw_only=True)
class TrainingFile:
    """What was read."""

    examples: list[Example] = field(default_factory=list[Example])
    problems: list[str] = field(default_factory=list[str])
    """The first ones, each with its line, as sentences."""
    problem_count: int = 0
    left_out: list[int] = field(default_factory=list[int])
    """Lines of rows that are whole but longer than the base reads."""

    def complain(self, line: int, text: str) -> None:
        self.problem_count += 1
        if len(self.problems) < _SHOWN:
            self.problems.append(f"Line {line}: {text}")

    @property
    def told(self) -> str:
        """The problems in one sentence each."""
        more = self.problem_count - len(self.problems)
        return " ".join([*self.problems, *([f"({more:,} more lines have problems.)"] if more else [])])


def read_training_file(
    path: Path, name: str, method: Method, *, first_row: int, fits: Callable[[Example], bool] | None = None
) -> TrainingFile:
    """Rows are numbered from `first_row`, in the order of the lines. The first row decides which format all have.

    `fits` says whether the base can read a row; it may raise DataError for one that its template cannot hold.
    """
    found = TrainingFile()
    shape: tuple[Shape, _Check] | None = None
    for number, line in _lines(path):
        if not line.strip():
            continue
        try:
            record = _record(line, name, number)
            shape = shape or _shape(record, method)
            example = _example(record, *shape, first_row + len(found.examples))
            if fits is None or fits(example):
                _add(found, example, first_row)
            else:
                found.left_out.append(number)
        except DataError as error:
            found.complain(number, f"{error.what} {error.fix or ''}".strip())
    return found


def _add(found: TrainingFile, example: Example, first_row: int) -> None:
    if example.row - first_row >= MOST_ROWS:
        raise DataError(f"There are more than {MOST_ROWS:,} rows.", fix="Train on fewer.")
    found.examples.append(example)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Each line with its number; of one that is too long as much as shows it."""
    with path.open("rb") as file:
        number = 1
        while line := file.readline(LONGEST_LINE + 2):
            yield number, line.removeprefix(_MARK) if number == 1 else line
            while not line.endswith(b"\n") and len(line) == LONGEST_LINE + 2:
                line = file.readline(LONGEST_LINE + 2)
            number += 1


def _record(line: bytes, name: str, number: int) -> Record:
    where = f"{name}:{number}"
    if len(line.rstrip(b"\r\n")) > LONGEST_LINE:
        raise DataError("The line is longer than 1 MiB.", where=where, fix="Shorten it, or leave it out.")
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise DataError("The line is not valid UTF-8.", where=where, fix="Save the file as UTF-8.") from error
    try:
        value = value_of(text)
    except (ValueError, RecursionError) as error:
        raise DataError("The line is not valid JSON.", where=where, fix="Write one JSON object a line.") from error
    values = record_of(value, text, 0, len(text), "The line", where)
    if _levels(values) > _MOST_LEVELS:
        raise DataError(f"Its values lie deeper than {_MOST_LEVELS} inside each other.", where=where)
    return Record(source=Source(file=name, line=number), values=values)


def _levels(value: object) -> int:
    level, count = [value], 0
    while level := [inner for outer in level for inner in _inside(outer)]:
        count += 1
    return count


def _inside(value: Any) -> list[object]:
    if isinstance(value, dict):
        return list(value.values())  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return value if isinstance(value, list) else []  # pyright: ignore[reportUnknownVariableType]


def _example(record: Record, shape: Shape, check: _Check, row: int) -> Example:
    keys = (*shape.prompt_columns, shape.completion_column)
    missing = next((key for key in keys if key not in record.values), None)
    if missing is not None:
        raise DataError(f"The key {missing!r} is missing.", fix=f"Every line is {shape.name}, as the first one is.")
    # A value that lists its unknown keys would grow with the file.
    shape.left_out.clear()
    example = shape.example(record, row)
    if example is None:
        raise DataError("The line gives no example.")
    problem = check(example)
    if problem:
        raise DataError(problem)
    return example


def _shape(record: Record, method: Method) -> tuple[Shape, _Check]:
    """By the keys of the first line that is an object."""
    values = record.values
    if method == "dpo":
        if {"input", "preferred_output", "non_preferred_output"} <= set(values):
            return _preference(), _check_preference
        raise DataError(
            "The line is no preference.",
            fix='Write {"input": {"messages": [...]}, "preferred_output": [...], "non_preferred_output": [...]}.',
        )
    if "messages" in values:
        return _chat(), _check_chat
    if {"prompt", "completion"} <= set(values):
        return _pairs(), _check_pair
    raise DataError(
        "The line has neither 'messages' nor 'prompt' and 'completion'.",
        fix='Write {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}.',
    )


def _chat() -> Chat:
    return Chat(
        name="a chat with messages",
        prompt_columns=("messages",),
        completion_column="messages",
        other_columns=("tools", "functions"),
    )


def _pairs() -> Pairs:
    return Pairs(name="a prompt with a completion", prompt_columns=("prompt",), completion_column="completion")


def _preference() -> OpenAIPreference:
    return OpenAIPreference(
        name="a preference",
        prompt_columns=("input",),
        completion_column="preferred_output",
        rejected_column="non_preferred_output",
    )


def _check_chat(example: Example) -> str | None:
    turns = example.messages or ()
    if not any(turn.role == "assistant" for turn in turns):
        return "The conversation has no turn of the assistant, so there is nothing to learn."
    if not any(turn.trained for turn in turns):
        return "Every turn of the assistant has the weight 0, so there is nothing to learn."
    return None if example.completion.strip() else "The last turn that is to be learnt says nothing."


def _check_pair(example: Example) -> str | None:
    return None if example.completion.strip() else "The completion is empty."


def _check_preference(example: Example) -> str | None:
    if not (example.completion.strip() and (example.rejected or "").strip()):
        return "An answer says nothing."
    return None
