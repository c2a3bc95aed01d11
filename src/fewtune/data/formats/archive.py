"""A workbook's ZIP archive, unpacked once under a limit, so that its reader never meets a hostile one."""

from __future__ import annotations

import io
import re
import tempfile
import zipfile
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from fewtune.data.formats.file import DataFile, unreadable
from fewtune.data.formats.limits import (
    MEBIBYTE,
    MOST_CHARACTERS,
    MOST_COLUMNS,
    MOST_RATIO,
    MOST_SHEET_AREA,
    MOST_UNPACKED_BYTES,
    size,
)
from fewtune.errors import DataError

_OFFICE = b"\xd0\xcf\x11\xe0"
_ENCRYPTED = "EncryptedPackage".encode("utf-16-le")
_WORKBOOK = "xl/workbook.xml"
_READ_PARTS = (".xml", ".rels")
_MOST_DIRECTORY_BYTES = 4 * MEBIBYTE
"""Of the list of the archive's parts, of which a workbook has a few dozen."""
_RATIO_FROM = 32 * MEBIBYTE
_SCATTERED_FROM = 4 * MEBIBYTE
_MOST_SCATTER = 64
"""Area of a sheet for each of its cells, counted from four million on."""

_CELL = re.compile(rb"""<(?:\w+:)?c(?=[\s/>])(?:[^<>]*?\sr\s*=\s*["']([A-Za-z]+)(\d+)["'])?[^<>]*(?<!/)>""")
_STRING_END = re.compile(rb"</(?:\w+:)?si>")
_ROW = re.compile(rb"""<(?:\w+:)?row(?=[\s/>])[^<>]*?\sr\s*=\s*["'](\d+)""")
_ERROR_CELL = re.compile(rb"""(<(?:\w+:)?c(?=[\s/>])[^<>]*?\st\s*=\s*)["']e["']""")
_SAVE_AGAIN = "Open it in a spreadsheet program and save it again as .xlsx or .csv."


@contextmanager
def unpacked_copy(file: DataFile) -> Generator[Path]:
    """The workbook as an archive that was written here, without compression, for as long as the context lasts.

    Error values such as #N/A have become text in it, which the reader of workbooks would leave out. Raises
    DataError for what is no workbook, is encrypted, or unpacks to more than any workbook.
    """
    _check_beginning(file)
    try:
        with tempfile.TemporaryDirectory(prefix="fewtune-") as folder:
            copy = Path(folder) / "workbook.xlsx"
            with _Bounded(io.FileIO(file.path)) as stream, zipfile.ZipFile(stream) as packed:
                _check_parts(packed, file.name)
                with zipfile.ZipFile(copy, "w") as unpacked:
                    _copy(packed, unpacked, file.name)
            yield copy
    except OSError as error:
        raise unreadable(error, file.name) from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError, RuntimeError) as error:
        what = f"The workbook's ZIP archive is damaged: {error}."
        raise DataError(what, where=file.name, fix=_SAVE_AGAIN) from error


class _Bounded(io.BufferedReader):
    """Reads no more at once than a plausible directory of an archive."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _MOST_DIRECTORY_BYTES:
            raise zipfile.BadZipFile("its directory is larger than any workbook's")
        return super().read(size)


def _check_beginning(file: DataFile) -> None:
    head = file.head(8)
    if not head:
        raise DataError("The file is empty.", where=file.name, fix="Give a workbook with named columns and rows.")
    if head.startswith(_OFFICE):
        if _holds(file, _ENCRYPTED):
            what, fix = "The workbook is encrypted.", "Save it again without a password."
        else:
            what, fix = "This is no XLSX workbook but an old Office file (.xls).", _SAVE_AGAIN
        raise DataError(what, where=file.name, fix=fix)
    if not head.startswith(b"PK"):
        what = "This is no XLSX workbook, whatever its name says: it is no ZIP archive."
        raise DataError(what, where=file.name, fix="If it is text, give it the ending .csv or .tsv.")


def _holds(file: DataFile, wanted: bytes) -> bool:
    before = b""
    for chunk in file.chunks():
        if wanted in before + chunk:
            return True
        before = chunk[-len(wanted) :]
    return False


def _check_parts(packed: zipfile.ZipFile, name: str) -> None:
    parts = set(packed.namelist())
    if _WORKBOOK not in parts:
        kinds = {"xl/workbook.bin": "a binary workbook (.xlsb)", "content.xml": "an OpenDocument file"}
        kind = next((kind for part, kind in kinds.items() if part in parts), "a ZIP archive without a workbook in it")
        raise DataError(f"This is no XLSX workbook but {kind}.", where=name, fix=_SAVE_AGAIN)
    if any(part.flag_bits & 1 for part in packed.infolist()):
        raise DataError("The workbook is encrypted.", where=name, fix="Save it again without a password.")


def _copy(packed: zipfile.ZipFile, unpacked: zipfile.ZipFile, name: str) -> None:
    total = compressed = 0
    seen: list[_Part] = []
    for part in {part.filename: part for part in packed.infolist()}.values():
        if not part.filename.lower().endswith(_READ_PARTS):
            continue
        compressed += part.compress_size
        xml = _Part(name)
        with packed.open(part) as source, unpacked.open(part.filename, "w") as target:
            while chunk := source.read(MEBIBYTE):
                total += len(chunk)
                if total > MOST_UNPACKED_BYTES or total > max(_RATIO_FROM, MOST_RATIO * compressed):
                    raise _bomb(name)
                target.write(xml.passed(chunk))
            target.write(xml.rest())
        seen.append(xml)
        if max(xml.longest_string for xml in seen) * max(xml.width for xml in seen) > MOST_UNPACKED_BYTES:
            raise _bomb(name)


def _bomb(name: str) -> DataError:
    return DataError(
        f"The workbook unpacks to more than {size(MOST_UNPACKED_BYTES)}, or far more than any workbook of its size.",
        where=name,
        fix="Save its sheet as .csv.",
    )


class _Part:
    """One part's XML on its way through: how far cells reach, how long strings are, error values made text."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._held = b""
        self._cells = self._unplaced = 0
        self._last_row = 1
        self._columns: set[bytes] = {b"A"}
        self._string_begun = 0
        self.longest_string = 0
        """Of the strings that cells share; a row may hold it in every one of its cells."""
        self.width = 1

    def passed(self, chunk: bytes) -> bytes:
        """Up to the last whole tag; what stands behind it is held back."""
        held = self._held + chunk
        cut = held.rfind(b">") + 1
        self._held = held[cut:]
        if len(self._held) > MOST_CHARACTERS:
            what = f"A cell of the workbook is longer than {size(MOST_CHARACTERS)}."
            raise DataError(what, where=self._name, fix="Save its sheet as .csv.")
        return self._seen(held[:cut])

    def rest(self) -> bytes:
        """What is still held back."""
        return self._held

    def _seen(self, tags: bytes) -> bytes:
        *strings, begun = map(len, _STRING_END.split(tags))
        if strings:
            strings[0] += self._string_begun
        self._string_begun = begun + (0 if strings else self._string_begun)
        self.longest_string = max(self.longest_string, *strings, 0)
        self._see_cells(tags)
        return _ERROR_CELL.sub(rb'\1"str"', tags) if b'"e"' in tags or b"'e'" in tags else tags

    def _see_cells(self, tags: bytes) -> None:
        places = _CELL.findall(tags)
        columns, rows = {column for column, _ in places}, {row for _, row in places}
        self._unplaced += sum(not column for column, _ in places) if b"" in columns else 0
        self._cells += len(places)
        self._columns |= columns - {b""}
        if self._unplaced:
            rows.update(_ROW.findall(tags))
        self._last_row = max(self._last_row, *(int(row) for row in rows if row), 1)
        self._check_area()

    def _check_area(self) -> None:
        self.width = max(max(map(_column_number, self._columns)), min(self._unplaced, MOST_COLUMNS))
        area = self.width * self._last_row
        scattered = area > _SCATTERED_FROM and area > _MOST_SCATTER * self._cells
        if area > MOST_SHEET_AREA or scattered:
            raise DataError(
                f"A sheet of the workbook reaches over {self._last_row:,} rows and {self.width:,} columns, "
                f"for {self._cells:,} cells.",
                where=self._name,
                fix="Delete what stands far away from the table, or save the sheet as .csv.",
            )


def _column_number(letters: bytes) -> int:
    number = 0
    for letter in letters.upper()[:8]:
        number = 26 * number + letter - 64
    return number
