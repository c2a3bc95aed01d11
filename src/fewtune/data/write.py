"""Writes rows and changes as JSON lines: wholly or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from fewtune.data.repair import Change
from fewtune.errors import from_os_error
from fewtune.types import Example


def write_jsonl(path: Path, examples: Iterable[Example]) -> None:
    """One object with `prompt` and `completion` a line, UTF-8; an older file is replaced at the very end."""
    _write_lines(path, map(_texts, examples))


def write_changes(path: Path, changes: Iterable[Change]) -> None:
    """One object a line: `row`, `code`, `file`, `line`, and the texts `before` and `after` (null: dropped)."""
    _write_lines(path, map(_change, changes))


def _texts(example: Example) -> dict[str, str]:
    return {"prompt": example.prompt, "completion": example.completion}


def _change(change: Change) -> dict[str, Any]:
    return {
        "row": change.row,
        "code": change.code,
        "file": change.source.file,
        "line": change.source.line,
        "before": _texts(change.before),
        "after": None if change.after is None else _texts(change.after),
    }


def _write_lines(path: Path, values: Iterable[Mapping[str, Any]]) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(json.dumps(value, ensure_ascii=False) + "\n" for value in values)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise from_os_error(error, f"write {path.name}", path) from error
    finally:
        with suppress(OSError):
            partial.unlink()
