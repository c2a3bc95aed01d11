"""Reads the user's file, or says exactly what is wrong with it and where."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fewtune.data.columns import choose_columns, listed, nearest
from fewtune.data.table import Table, parse_csv, parse_jsonl
from fewtune.errors import DataError
from fewtune.types import Example, Source

_PARSERS = {".csv": parse_csv, ".jsonl": parse_jsonl}
_BYTE_ORDER_MARK = "\ufeff"
_UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """The rows of one file, exactly as they stand in it."""

    path: Path
    sha256: str
    """Of the file's bytes, in hexadecimal."""
    examples: tuple[Example, ...]
    prompt_column: str
    completion_column: str
    ignored_columns: tuple[str, ...]
    """In the order of the file; nameless ones are called `unnamed column 1` and so on, by their place."""


def read(path: Path, *, prompt_column: str | None = None, completion_column: str | None = None) -> Dataset:
    """Read a CSV file with a header, or JSONL with one object a line; UTF-8, with or without a byte order mark.

    Columns that are not named are recognised by their usual names, such as `prompt` or `question`, and
    `completion` or `label`. Cells are text as they stand: nothing is trimmed, and no type is guessed.
    Raises DataError, with file and line, for everything that cannot be read without a guess.
    """
    file = str(path).encode(errors="replace").decode()
    data = _bytes(path, file)
    text = _decoded(data, file)
    if not text.strip():
        raise DataError("The file is empty.", where=file, fix="Give a file with named columns and rows.")
    table = _PARSERS[path.suffix.lower()](text, file)
    prompt, completion = choose_columns(
        table.columns, prompt=prompt_column, completion=completion_column, where=f"{file}:{table.first_line}"
    )
    examples = tuple(_examples(table, prompt, completion, file))
    if not examples:
        raise DataError("There is a header but no row.", where=file, fix="Add rows below it.")
    return Dataset(
        path=path,
        sha256=hashlib.sha256(data).hexdigest(),
        examples=examples,
        prompt_column=prompt,
        completion_column=completion,
        ignored_columns=tuple(column for column in table.columns if column not in (prompt, completion)),
    )


def _bytes(path: Path, file: str) -> bytes:
    try:
        if path.is_dir():
            raise DataError("This is a folder.", where=file, fix="Give one of the files in it.")
        if path.is_symlink() and not path.exists():
            raise DataError("This is a link that leads nowhere.", where=file, fix="Give the file itself.")
        if not path.exists():
            raise DataError("There is no such file.", where=file, fix=_remedy_for_missing(path))
        if path.suffix.lower() not in _PARSERS:
            what = f"Files ending in {path.suffix!r} are not read." if path.suffix else "The file's name has no ending."
            raise DataError(what, where=file, fix="Save the rows as CSV (.csv) or as JSON lines (.jsonl).")
        if not path.is_file():
            raise DataError("This is not a regular file.", where=file, fix="Save the rows in a file first.")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        fix = "Check the path and its permissions."
        raise DataError(f"The file cannot be read: {reason}.", where=file, fix=fix) from error


def _remedy_for_missing(path: Path) -> str:
    neighbours = [name.name for name in path.parent.iterdir()] if path.parent.is_dir() else []
    return f"{nearest(path.name, neighbours)}Check the path."


def _decoded(data: bytes, file: str) -> str:
    try:
        return data.decode("utf-8").removeprefix(_BYTE_ORDER_MARK)
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8")
        line = before.count("\n") + before.count("\r") - before.count("\r\n") + 1
        kind = " (it looks like UTF-16)" if data.startswith(_UTF_16_MARKS) else ""
        raise DataError(
            f"The file is not UTF-8{kind}: byte {data[error.start]:#04x} at offset {error.start:,} makes no character.",
            where=f"{file}:{line}",
            fix="Save it again as UTF-8 (in Excel: 'CSV UTF-8').",
        ) from error


def _examples(table: Table, prompt: str, completion: str, file: str) -> Iterator[Example]:
    for row, (line, cells) in enumerate(table.rows):
        source = Source(file=file, line=line)
        missing = [column for column in (prompt, completion) if column not in cells]
        if missing:
            raise DataError(
                f"This row has no {listed(missing)}; it has {listed(cells)}.",
                where=str(source),
                fix="Give every row the same keys.",
            )
        yield Example(row=row, prompt=cells[prompt], completion=cells[completion], source=source)
