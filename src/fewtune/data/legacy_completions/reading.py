"""Any file that the old tool read, as prompts and completions."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path

from fewtune.data.legacy_completions.delimited import read_delimited
from fewtune.data.legacy_completions.frame import Frame, refusal
from fewtune.data.legacy_completions.json_frame import read_json_frame
from fewtune.data.legacy_completions.workbook import read_workbook
from fewtune.errors import DataError

FIELDS = ("prompt", "completion")
_MOST_BYTES = 1 << 30
_SEPARATORS = {".csv": ",", ".tsv": "\t"}


def read_frame(path: Path, file: str) -> Frame:
    """The table of a file, by the ending of its name; raises DataError for what the old tool refused."""
    name = path.name.lower()
    try:
        if not path.is_file():
            raise refusal("There is no such file.", file, "Check the path.")
        if (size := path.stat().st_size) > _MOST_BYTES:
            what = f"The file has {size:,} bytes; this recipe reads up to {_MOST_BYTES:,}."
            raise refusal(what, file, "Split it, or use another recipe.")
        if name.endswith(".xlsx"):
            return read_workbook(path, file)
        if name.endswith(".txt"):
            return _completions_alone(path.read_text(encoding="utf-8"))
        if name.endswith(("json", "jsonl")):
            return read_json_frame(path.read_bytes().decode(), file)
        if name[-4:] in _SEPARATORS:
            return read_delimited(path.read_bytes(), file, _SEPARATORS[name[-4:]])
    except UnicodeDecodeError as error:
        what = f"The file is not UTF-8: byte {error.object[error.start]:#04x} at offset {error.start:,}."
        raise refusal(what, file, "Save it again as UTF-8.") from error
    except (OSError, ValueError) as error:
        fix = "Check the path and its permissions."
        raise refusal(f"The file cannot be read: {error}.", file, fix) from error
    raise refusal("The ending of the file's name is not known.", file, "Give CSV, TSV, XLSX, TXT, JSON or JSONL.")


def _completions_alone(text: str) -> Frame:
    """Each line is a completion without a prompt; the end of the last line begins another, empty one."""
    lines = text.split("\n")
    return Frame(
        columns=FIELDS,
        cells=([""] * len(lines), lines),
        labels=range(len(lines)),
        as_text=list,
        converted=True,
    )


def choose_column(columns: tuple[Hashable, ...], field: str, file: str) -> int:
    """Place of the column with that name, or else of the first that has it in other case."""
    if field in columns:
        return columns.index(field)
    alike = [place for place, name in enumerate(columns) if isinstance(name, str) and name.lower() == field]
    if not alike:
        raise _missing(columns, field, file)
    return alike[0]


def _missing(columns: tuple[Hashable, ...], field: str, file: str) -> DataError:
    names = ", ".join(map(str, columns)) or "none"
    return refusal(f"There is no column `{field}`; the columns are: {names}.", file, f"Name one of them `{field}`.")
