"""The first sheet of an XLSX workbook, cell by cell as pandas takes it from openpyxl."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from python_calamine import CalamineError, load_workbook

from fewtune.data.legacy_completions.frame import MISSING_WORDS, Frame, refusal


def read_workbook(path: Path, file: str) -> Frame:
    """The first sheet; its first row names the columns."""
    try:
        with load_workbook(str(path)) as workbook:
            rows = _trimmed(workbook.get_sheet_by_index(0).to_python(skip_empty_area=False))
    except (CalamineError, OSError, ValueError, IndexError) as error:
        fix = "Save it again as XLSX, or as CSV."
        raise refusal(f"The workbook cannot be read: {error}.", file, fix) from error
    if not rows:
        raise refusal("The first sheet is empty.", file, "Put the rows on the first sheet, below named columns.")
    header, *data = rows
    columns = tuple(f"Unnamed: {number}" if name == "" else name for number, name in enumerate(header))
    cells: list[Sequence[Any]] = list(zip(*data, strict=True))
    return Frame(
        columns=columns,
        cells=cells or [()] * len(columns),
        labels=range(len(data)),
        as_text=_text,
        converted=True,
    )


def _trimmed(rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """Without what is empty below and on the right."""
    deepest = max((number for number, row in enumerate(rows, 1) if any(cell != "" for cell in row)), default=0)
    kept = [list(row) for row in rows[:deepest]]
    width = max((number for row in kept for number, cell in enumerate(row, 1) if cell != ""), default=0)
    return [row[:width] for row in kept]


def _text(cells: Sequence[Any]) -> list[str]:
    texts = [str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell) for cell in cells]
    return ["" if text in MISSING_WORDS else text for text in texts]
