"""Small whole files of every format, and what can go wrong with bytes."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

import openpyxl
import polars
from hypothesis import strategies as st

from fewtune.data.formats import open_data

CSV = 'prompt,completion,note\n"Where is it, then?",On the shelf,\n"two\nlines","said ""yes""",é\nlast,one\n'
JSON_LINES = """\
{"prompt": "a", "completion": "é\\u00e9", "n": [1, 1.50, {"x": null}]}

{"prompt": "b", "completion": true}
"""
JSON = """\
{"count": 2,
 "data": [
  {"prompt": "a", "completion": [1.5, "x"]},
  {"prompt": "b", "extra": {"y": NaN}}
 ]
}
"""


def workbook() -> bytes:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for row in (["Questions of March"], ["prompt", "completion", "score"], ["a", "b", 1.5], ["c", True, 3]):
        sheet.append(row)
    sheet.merge_cells("A1:C1")
    book.create_sheet("Other").append(["x"])
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()


def parquet() -> bytes:
    content = io.BytesIO()
    rows = {"prompt": ["a", "b", None], "score": [1.5, 2.0, 3.5], "turns": [[{"role": "user", "n": 1}], [], None]}
    polars.DataFrame(rows).write_parquet(content)
    return content.getvalue()


WHOLE: dict[str, bytes] = {
    "csv": CSV.encode(),
    "tsv": CSV.replace(",", "\t").encode("cp1252"),
    "jsonl": JSON_LINES.encode(),
    "json": JSON.encode("utf-16"),
    "txt": b"one\r\ntwo\rthree\n",
    "parquet": parquet(),
    "xlsx": workbook(),
}

_PIECES = [*(bytes([code]) for code in b'",;\t|\n\r{}[]:<>/\\\0'), b"\xff\xfe", b"\xef\xbb\xbf", b"\x81", b"9" * 5000]
_EDIT = st.tuples(
    st.floats(min_value=0, max_value=1, exclude_max=True),
    st.integers(min_value=0, max_value=40),
    st.binary(max_size=8) | st.sampled_from(_PIECES),
)
"""Where, how many bytes are replaced, and by what."""


def edited(whole: bytes) -> st.SearchStrategy[bytes]:
    """The bytes after a few edits."""

    def apply(edits: Sequence[tuple[float, int, bytes]]) -> bytes:
        changed = whole
        for place, count, piece in edits:
            begin = int(place * len(changed))
            changed = changed[:begin] + piece + changed[begin + count :]
        return changed

    return st.lists(_EDIT, max_size=4).map(apply)


@st.composite
def edited_inside(draw: st.DrawFn) -> bytes:
    """A workbook, one of whose parts was edited before it was packed."""
    content = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(WHOLE["xlsx"])) as whole, zipfile.ZipFile(content, "w") as changed:
        names = whole.namelist()
        chosen = draw(st.sampled_from(names))
        for name in names:
            part = whole.read(name)
            changed.writestr(name, draw(edited(part)) if name == chosen else part)
    return content.getvalue()


def contents(ending: str) -> st.SearchStrategy[bytes]:
    """Anything at all, and files of that format that something went wrong with."""
    damaged = edited(WHOLE[ending])
    return st.binary(max_size=400) | damaged | (edited_inside() if ending == "xlsx" else damaged)


def read_through(path: Path | str) -> int:
    """The number of records of a file, all of them read."""
    return sum(1 for table in open_data(str(path)).tables for _ in table.records)
