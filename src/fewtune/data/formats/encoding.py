"""How the characters of a text file are stored: found out in one pass over its bytes, and never guessed silently."""

from __future__ import annotations

import codecs
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from fewtune.data.formats.file import DataFile
from fewtune.data.formats.limits import MEBIBYTE, MOST_CHARACTERS, size
from fewtune.errors import DataError

_HEAD = 4096
_UTF_8_MARK = codecs.BOM_UTF8
_UTF_16 = {"utf-16-le": ("little-endian", codecs.BOM_UTF16_LE), "utf-16-be": ("big-endian", codecs.BOM_UTF16_BE)}
_PAIRS_BYTES = 64
_LEAST_NULS = 0.5
"""Share of the first pairs of bytes whose one half is NUL, to take the text for UTF-16 without a mark."""

_UNDEFINED = bytes([0x81, 0x8D, 0x8F, 0x90, 0x9D])
_CONTROLS = bytes(code for code in range(32) if code not in b"\t\n\f\r") + b"\x7f"
_NOT_WINDOWS_1252 = _UNDEFINED + _CONTROLS
_WINDOWS_1252 = bytes(code for code in range(256) if code not in _NOT_WINDOWS_1252)
_NOT_ASCII = bytes(range(128, 256))

_MAGIC = {
    b"PK\x03\x04": ("a ZIP archive, as workbooks are", "If it is a workbook, let its name end in .xlsx."),
    b"\xd0\xcf\x11\xe0": ("an old or an encrypted Office file", "Save it again as .xlsx, without a password."),
    b"PAR1": ("a Parquet file", "Let its name end in .parquet."),
    b"\x1f\x8b": ("packed with gzip", "Unpack it first."),
    b"BZh": ("packed with bzip2", "Unpack it first."),
    b"\xfd7zXZ": ("packed with xz", "Unpack it first."),
    b"\x28\xb5\x2f\xfd": ("packed with Zstandard", "Unpack it first."),
    b"%PDF": ("a PDF document", "Copy its records to a table, such as a CSV file."),
}
"""Beginnings of files that are sometimes given the name of a text file."""


@dataclass(frozen=True, kw_only=True)
class TextFile:
    """A file of text whose encoding is known."""

    file: DataFile
    sha256: str
    codec: str
    mark: bytes
    """The byte order mark that it begins with, if any."""
    notes: tuple[str, ...]

    @property
    def name(self) -> str:
        """Of the file, as the user would name it."""
        return self.file.name

    def blocks(self) -> Iterator[str]:
        """The text without its mark, some hundred thousand characters at a time."""
        decoder = codecs.getincrementaldecoder(self.codec)()
        skipped = len(self.mark)
        try:
            for chunk in self.file.chunks():
                yield decoder.decode(chunk[skipped:])
                skipped = 0
            yield decoder.decode(b"", final=True)
        except UnicodeDecodeError as error:
            what, fix = "The file was changed while it was read.", "Try again when nothing writes to it."
            raise DataError(what, where=self.name, fix=fix) from error


def text_file(file: DataFile, *, in_lines: bool) -> TextFile:
    """Read all bytes once: their hash, and the encoding.

    Raises DataError for bytes that are no text, and, with `in_lines`, soon for a line that is far too long.
    """
    head = file.head(_HEAD)
    if not head:
        raise DataError("The file is empty.", where=file.name, fix="Give a file with named columns and rows.")
    _refuse_other_kinds(head, file)
    codec, mark, reason = _codec(head)
    pass_over = _Pass(file, codec, mark, in_lines=in_lines)
    if reason:
        notes = (f"It is read as UTF-16 ({_UTF_16[codec][0]}), because of {reason}.",)
    elif pass_over.broken is None:
        notes = ()
    else:
        _check_windows_1252(file, pass_over.broken)
        codec, notes = "cp1252", (f"It is read as Windows-1252, because {_told(pass_over.broken, file)}.",)
    return TextFile(file=file, sha256=pass_over.sha256, codec=codec, mark=mark, notes=notes)


def guessed_text(head: bytes) -> str:
    """The first bytes as text, for a first look only: what cannot be decoded is replaced."""
    codec, mark, _ = _codec(head)
    return head[len(mark) :].decode(codec, errors="replace")


def _codec(head: bytes) -> tuple[str, bytes, str | None]:
    """The codec, the mark to leave out, and what speaks for UTF-16."""
    for codec, (_, mark) in _UTF_16.items():
        if head.startswith(mark):
            return codec, mark, "its byte order mark"
    sample = head[:_PAIRS_BYTES]
    pairs = len(sample) // 2
    first, second = sample[::2].count(0), sample[1::2].count(0)
    if pairs >= 2 and max(first, second) > pairs * _LEAST_NULS and min(first, second) == 0:
        return "utf-16-be" if first else "utf-16-le", b"", "the zero bytes in every other place"
    return "utf-8", _UTF_8_MARK if head.startswith(_UTF_8_MARK) else b"", None


class _Pass:
    """One pass over the bytes: their hash, whether they decode, no NUL and no endless line among them."""

    def __init__(self, file: DataFile, codec: str, mark: bytes, *, in_lines: bool) -> None:
        self.broken: tuple[int, int] | None = None
        """Offset and value of the first byte that makes no UTF-8 character."""
        self._file = file
        self._wide = codec in _UTF_16
        self._decoder = codecs.getincrementaldecoder(codec)()
        digest = hashlib.sha256()
        offset = line_began = 0
        for chunk in file.chunks():
            self._refuse_nul(chunk, offset)
            self._decode(chunk if offset else chunk[len(mark) :], offset or len(mark))
            last_break = max(chunk.rfind(b"\n"), chunk.rfind(b"\r"))
            line_began = offset + last_break if last_break >= 0 else line_began
            digest.update(chunk)
            offset += len(chunk)
            # A character has at most four bytes; the exact count is taken where lines are read.
            if in_lines and offset - line_began > 4 * MOST_CHARACTERS + MEBIBYTE:
                raise too_long(f"{file.name}:{_line_at(file, line_began + 1)}")
        self._decode(b"", offset, final=True)
        self.sha256 = digest.hexdigest()

    def _refuse_nul(self, chunk: bytes, offset: int) -> None:
        if not self._wide and b"\0" in chunk:
            at = offset + chunk.index(b"\0")
            raise _nul(f"{self._file.name}:{_line_at(self._file, at)}", at)

    def _decode(self, chunk: bytes, offset: int, *, final: bool = False) -> None:
        if self.broken:
            return
        try:
            text = self._decoder.decode(chunk, final=final)
        except UnicodeDecodeError as error:
            at = offset + len(chunk) - len(error.object) + error.start
            self.broken = (at, error.object[error.start])
            if self._wide:
                raise DataError(
                    f"The file looks like UTF-16, but the bytes at offset {at:,} make no character.",
                    where=self._file.name,
                    fix="Save it again as UTF-8.",
                ) from error
        else:
            if self._wide and "\0" in text:
                raise _nul(self._file.name, offset)


def too_long(where: str) -> DataError:
    """For a line or a record that nobody could have meant."""
    return DataError(
        f"This line is longer than {size(MOST_CHARACTERS)}, the most that is read of one record.",
        where=where,
        fix="Put every record on a line of its own.",
    )


def _nul(where: str, offset: int) -> DataError:
    what = f"There is a NUL byte near offset {offset:,}, which text never has; the file is damaged or no text."
    return DataError(what, where=where, fix="Save it again as text in UTF-8.")


def _refuse_other_kinds(head: bytes, file: DataFile) -> None:
    for magic, (kind, fix) in _MAGIC.items():
        if head.startswith(magic):
            raise DataError(f"By its first bytes this is no text but {kind}.", where=file.name, fix=fix)


def _line_at(file: DataFile, offset: int) -> int:
    """The line on which the byte at an offset stands."""
    line, place, before = 1, 0, b""
    for chunk in file.chunks():
        part = chunk[: offset - place]
        line += part.count(b"\n") + part.count(b"\r") - part.count(b"\r\n")
        line -= before == b"\r" and part.startswith(b"\n")
        place, before = place + len(part), part[-1:]
        if place >= offset:
            break
    return line


def _told(broken: tuple[int, int], file: DataFile) -> str:
    offset, byte = broken
    return f"byte {byte:#04x} on line {_line_at(file, offset):,} makes no UTF-8 character"


def _check_windows_1252(file: DataFile, broken: tuple[int, int]) -> None:
    """Raises DataError where what is no UTF-8 is not plausible as Windows-1252 either."""
    valid = wrong = 0
    decoder = codecs.getincrementaldecoder("utf-8")(errors="ignore")
    for chunk in file.chunks():
        foreign = chunk.translate(None, _WINDOWS_1252)
        if foreign:
            raise _no_encoding(file, broken, f"byte {foreign[0]:#04x} stands for no letter in Windows-1252")
        ascii_count = len(chunk.translate(None, _NOT_ASCII))
        decoded = decoder.decode(chunk)
        valid += len(decoded) - ascii_count
        wrong += len(chunk) - len(decoded.encode())
    if valid > wrong:
        raise _no_encoding(file, broken, f"{valid:,} other characters are UTF-8")


def _no_encoding(file: DataFile, broken: tuple[int, int], besides: str) -> DataError:
    offset, byte = broken
    return DataError(
        f"The file's encoding is not clear: byte {byte:#04x} at offset {offset:,} makes no UTF-8 character, "
        f"and {besides}.",
        where=f"{file.name}:{_line_at(file, offset)}",
        fix="Save it again as UTF-8 (in Excel: 'CSV UTF-8').",
    )
