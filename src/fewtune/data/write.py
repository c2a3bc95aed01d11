"""Writes rows, changes and documents: wholly or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from fewtune.data.masking import masked
from fewtune.data.rendering import RowShape, completion_row, rendered
from fewtune.data.repair import Change
from fewtune.errors import from_os_error
from fewtune.types import Example


def write_rows(path: Path, examples: Iterable[Example], shape: RowShape = "openai-completion") -> None:
    """One object a line in the shape, UTF-8; an older file is replaced at the very end."""
    _write_lines(path, (rendered(example, shape) for example in examples))


def write_document(path: Path, document: Mapping[str, Any]) -> None:
    """One JSON document, indented for people."""
    write_text(path, json.dumps(document, ensure_ascii=False, indent=1) + "\n")


def write_text(path: Path, text: str) -> None:
    _write(path, [text])


def write_changes(path: Path, changes: Iterable[Change]) -> None:
    """One object a line: `row`, `code`, `file`, `line`, and the texts `before` and `after` (null: dropped)."""
    _write_lines(path, map(_change, changes))


def _change(change: Change) -> dict[str, Any]:
    return {
        "row": change.row,
        "code": change.code,
        "file": change.source.file,
        "line": change.source.line,
        "before": _shown(change.before),
        "after": None if change.after is None else _shown(change.after),
    }


def _shown(example: Example) -> dict[str, str]:
    """Secrets and personal data masked: a record of changes is read, and passed on, by others than the data is."""
    return {name: masked(text) for name, text in completion_row(example).items()}


def _write_lines(path: Path, values: Iterable[Mapping[str, Any]]) -> None:
    _write(path, (json.dumps(value, ensure_ascii=False) + "\n" for value in values))


def _write(path: Path, pieces: Iterable[str]) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise from_os_error(error, f"write {path.name}", path) from error
    finally:
        with suppress(OSError):
            partial.unlink()
