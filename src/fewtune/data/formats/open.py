"""The user's file, folder or standard input, opened as tables of records."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from fewtune.data.columns import listed
from fewtune.data.formats.delimited import read_delimited
from fewtune.data.formats.encoding import TextFile, text_file
from fewtune.data.formats.file import DataFile, find, path_as_text, regular_file, spooled, unreadable
from fewtune.data.formats.json_document import read_json_document
from fewtune.data.formats.json_lines import read_json_lines
from fewtune.data.formats.kind import KINDS, Kind, json_kind, kind_by_content, kind_by_ending
from fewtune.data.formats.limits import MOST_DOCUMENT_BYTES, size
from fewtune.data.formats.parquet import read_parquet
from fewtune.data.formats.plain_text import read_plain_text
from fewtune.data.formats.workbook import read_workbook
from fewtune.data.records import Table
from fewtune.errors import DataError

STANDARD_INPUT = "-"
_STANDARD_INPUT_NAME = "stdin"
_DELIMITERS = {"csv": ",", "tsv": "\t"}


@dataclass(frozen=True, kw_only=True)
class Opened:
    """What a path leads to."""

    tables: tuple[Table, ...]
    """One for each file, in the order of their names."""
    sha256: str
    """Of the file's bytes, in hexadecimal; of a folder that of its listing, as `sha256sum` prints it."""


def open_data(path: str) -> Opened:
    """Open a file by the ending of its name, the files of a folder, or standard input (`-`) by its content.

    Raises DataError, with file and line, for everything that cannot be read without a guess: here for what the
    first records show, and from `Table.records` for what comes to light only further down.
    """
    if path == STANDARD_INPUT:
        file = _standard_input()
        return _single(file, kind_by_content(file))
    place = Path(path)
    try:
        is_folder = place.is_dir()
    except (OSError, ValueError) as error:
        raise unreadable(error, path_as_text(place)) from error
    if is_folder:
        return _folder(place)
    find(place)
    kind = kind_by_ending(place)
    return _single(regular_file(place), kind)


def _single(file: DataFile, kind: Kind) -> Opened:
    table, sha256 = _table(file, kind)
    return Opened(tables=(table,), sha256=sha256)


def _standard_input() -> DataFile:
    stream = getattr(sys.stdin, "buffer", None)
    if stream is None:
        raise DataError("There is no standard input.", where=_STANDARD_INPUT_NAME, fix="Give a file.")
    return spooled(stream, _STANDARD_INPUT_NAME)


def _folder(folder: Path) -> Opened:
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise unreadable(error, path_as_text(folder)) from error
    usable = [entry for entry in entries if entry.suffix.lower() in KINDS and not entry.is_dir()]
    others = [
        path_as_text(entry.relative_to(folder)) + "/" * entry.is_dir() for entry in entries if entry not in usable
    ]
    if not usable:
        raise DataError(
            f"There is no file in this folder that is read; there is {listed(others)}.",
            where=path_as_text(folder),
            fix=f"Give a folder with files that end in {', '.join(KINDS)}.",
        )
    read = [_table(regular_file(entry), kind_by_ending(entry)) for entry in usable]
    listing = "".join(f"{sha256}  {entry.name}\n" for entry, (_, sha256) in zip(usable, read, strict=True))
    tables = [table for table, _ in read]
    if others:
        note = f"Of the folder {path_as_text(folder)} these are not read: {listed(others)}."
        tables[0] = replace(tables[0], notes=(*tables[0].notes, note))
    digest = hashlib.sha256(listing.encode(errors="surrogateescape"))
    return Opened(tables=tuple(tables), sha256=digest.hexdigest())


def _table(file: DataFile, kind: Kind) -> tuple[Table, str]:
    """The file's table and the hash of its bytes."""
    if kind == "xlsx":
        return read_workbook(file), file.sha256()
    if kind == "parquet":
        return read_parquet(file), file.sha256()
    if kind == "txt":
        text = text_file(file, in_lines=True)
        return read_plain_text(text), text.sha256
    if kind in _DELIMITERS:
        text = text_file(file, in_lines=True)
        return read_delimited(text, promised=_DELIMITERS[kind]), text.sha256
    return _json_table(file, kind)


def _json_table(file: DataFile, kind: Kind) -> tuple[Table, str]:
    """By its content: both endings are given to both formats."""
    found = json_kind(file) or kind
    if kind == "jsonl" and found == "json" and not file.head(1).startswith(b"["):
        found = "jsonl"
    if found == "jsonl":
        text = text_file(file, in_lines=True)
        return read_json_lines(text, *_other_kind(kind, found, "JSON lines, one object a line")), text.sha256
    text = _document(file)
    return read_json_document(text, *_other_kind(kind, found, "a single JSON document")), text.sha256


def _document(file: DataFile) -> TextFile:
    try:
        large = file.path.stat().st_size > MOST_DOCUMENT_BYTES
    except OSError as error:
        raise unreadable(error, file.name) from error
    if large:
        what = f"The JSON document is larger than {size(MOST_DOCUMENT_BYTES)}, the most that is read of one."
        raise DataError(what, where=file.name, fix="Save its records as JSON lines (.jsonl), one object a line.")
    return text_file(file, in_lines=False)


def _other_kind(promised: Kind, found: Kind, told: str) -> tuple[str, ...]:
    return () if promised == found else (f"By its content this is {told}, and it is read as that.",)
