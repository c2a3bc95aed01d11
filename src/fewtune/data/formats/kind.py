"""Which format a file has: by the ending of its name, or by its first bytes where it has none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from fewtune.data.formats.encoding import guessed_text
from fewtune.data.formats.file import DataFile, path_as_text
from fewtune.data.formats.json_values import value_of
from fewtune.data.formats.limits import MEBIBYTE
from fewtune.errors import DataError

Kind = Literal["csv", "tsv", "xlsx", "json", "jsonl", "parquet", "txt"]

KINDS: Mapping[str, Kind] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".xlsx": "xlsx",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".txt": "txt",
}
"""By the ending of the file's name, in small letters."""

_OFFERED = "CSV, TSV, XLSX, JSON, JSON lines (.jsonl), Parquet or TXT (one completion a line)"
_ADVICE = {
    "Open it in a spreadsheet program and save it as .xlsx or .csv.": (".xls", ".xlsm", ".xlsb", ".ods", ".numbers"),
    "Unpack it first, and give the file or the folder that was in it.": (
        *(".zip", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".tar", ".7z", ".rar"),
    ),
    "Copy its records to a table, and save that as .csv or .xlsx.": (
        *(".pdf", ".doc", ".docx", ".odt", ".rtf", ".html", ".htm", ".md"),
    ),
    "Save its rows as .parquet, .jsonl or .csv.": (
        *(
            ".arrow",
            ".feather",
            ".orc",
            ".avro",
            ".pkl",
            ".npy",
            ".npz",
            ".h5",
            ".db",
            ".sqlite",
            ".xml",
            ".yaml",
            ".yml",
        ),
    ),
}
_REMEDIES = {ending: advice for advice, endings in _ADVICE.items() for ending in endings}
_LOOK = MEBIBYTE


def kind_by_ending(path: Path) -> Kind:
    """Raises DataError, with what to do, for a file that is not read."""
    ending = path.suffix.lower()
    if ending in KINDS:
        return KINDS[ending]
    name = path_as_text(path)
    shown = path_as_text(Path(path.suffix))
    what = f"Files ending in {shown!r} are not read." if ending else "The file's name has no ending."
    raise DataError(what, where=name, fix=_REMEDIES.get(ending, f"Save the records as {_OFFERED}."))


def kind_by_content(file: DataFile) -> Kind:
    """For bytes without a name. What is neither JSON nor a known binary format is taken for a table with a header."""
    head = file.head(_LOOK)
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        return "xlsx"
    return json_kind(file) or "csv"


def json_kind(file: DataFile) -> Literal["json", "jsonl"] | None:
    """Whether the text begins like a JSON document or like JSON lines; None where it begins like neither.

    JSON lines are told by a first line that is a whole object with something below it.
    """
    head = file.head(_LOOK)
    text = guessed_text(head).lstrip()
    if not text or text[0] not in "[{":
        return None
    line, _, below = text.partition("\n") if "\n" in text else text.partition("\r")
    if text[0] == "{" and below.strip() and _is_object(line):
        return "jsonl"
    return "json"


def _is_object(line: str) -> bool:
    try:
        return isinstance(value_of(line), dict)
    except json.JSONDecodeError:
        return False
    except (ValueError, RecursionError):
        # Whole, but with something in it that the reader will name.
        return True
