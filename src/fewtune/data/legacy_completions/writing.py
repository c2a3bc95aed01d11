"""JSON lines, byte for byte as pandas writes them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from itertools import count
from json.encoder import encode_basestring
from pathlib import Path

from fewtune.data.legacy_completions.pairs import Pairs
from fewtune.errors import from_os_error


def json_lines(pairs: Pairs) -> str:
    """One object a line; slashes are escaped, letters beyond ASCII are not. No rows make one empty line."""
    quoted = zip(map(encode_basestring, pairs.prompts), map(encode_basestring, pairs.completions), strict=True)
    lines = "".join([f'{{"prompt":{prompt},"completion":{completion}}}\n' for prompt, completion in quoted])
    return lines.replace("/", "\\/") or "\n"


def write_parts(parts: Mapping[str, Pairs], folder: Path, stem: str) -> tuple[Path, ...]:
    """Write each part under its final name only when it is whole."""
    paths = _free_names(parts, folder, stem)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, pairs in zip(paths, parts.values(), strict=True):
            _write_whole(path, json_lines(pairs))
    except OSError as error:
        raise from_os_error(error, "write the prepared rows", folder) from error
    return paths


def _write_whole(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        with suppress(OSError):
            partial.unlink()


def _free_names(endings: Iterable[str], folder: Path, stem: str) -> tuple[Path, ...]:
    for number in count():
        bracket = f" ({number})" if number else ""
        paths = tuple(folder / f"{stem}{ending}{bracket}.jsonl" for ending in endings)
        if not any(path.is_file() for path in paths):
            return paths
    raise AssertionError("the numbers have no end")
