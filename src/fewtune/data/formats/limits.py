"""The most that is read of anything, so that a hostile or broken file is refused before it fills the memory."""

from __future__ import annotations

MEBIBYTE = 1 << 20

MOST_FILE_BYTES = 8 << 30
MOST_DOCUMENT_BYTES = 1 << 30
"""Of one JSON document."""
MOST_CHARACTERS = 16 * MEBIBYTE
"""Of one line, and of one record."""
MOST_COLUMNS = 16_384
"""As many as Excel has."""
MOST_LEVELS = 200
"""Of lists and objects inside each other in JSON; more would exhaust the stack of whoever writes them again."""

MOST_UNPACKED_BYTES = 512 * MEBIBYTE
"""Of one workbook."""
MOST_RATIO = 100
"""Of unpacked to packed bytes in a workbook, counted from 32 MiB on; sheets have about 10."""
MOST_SHEET_AREA = 32 * MEBIBYTE
"""Rows times columns of one sheet, which the reader of workbooks lays out whole."""


def size(count: int) -> str:
    """Bytes as people say them: 16 MiB, 8 GiB."""
    return f"{count >> 30} GiB" if count >= 1 << 30 else f"{count >> 20} MiB"
