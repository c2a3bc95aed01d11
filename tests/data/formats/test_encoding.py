from __future__ import annotations

import hashlib

import pytest

from data.formats.conftest import OpenTable, WriteFile
from fewtune.data.formats import open_data
from fewtune.errors import DataError

TEXT = "prompt,completion\r\nIt’s “fine”,Ünïcode\r\n"


@pytest.mark.parametrize(
    ("content", "note"),
    [
        (TEXT.encode(), None),
        (TEXT.encode("utf-8-sig"), None),
        (b"\xff\xfe" + TEXT.encode("utf-16-le"), "UTF-16 (little-endian), because of its byte order mark"),
        (b"\xfe\xff" + TEXT.encode("utf-16-be"), "UTF-16 (big-endian), because of its byte order mark"),
        (TEXT.encode("utf-16-le"), "UTF-16 (little-endian), because of the zero bytes"),
        (TEXT.encode("utf-16-be"), "UTF-16 (big-endian), because of the zero bytes"),
        (TEXT.encode("cp1252"), "Windows-1252, because byte 0x92 on line 2 makes no UTF-8 character"),
    ],
)
def test_the_encoding_is_found_and_told(opened: OpenTable, content: bytes, note: str | None) -> None:
    table = opened("text.csv", content)
    assert table.columns == ("prompt", "completion")
    assert [dict(record.values) for record in table.records] == [{"prompt": "It’s “fine”", "completion": "Ünïcode"}]
    assert len(table.notes) == (note is not None)
    assert note is None or note in table.notes[0]


def test_a_capital_letter_before_a_closing_quote_is_no_sign_of_utf_8(opened: OpenTable) -> None:
    # These two bytes of Windows-1252 happen to be one character of UTF-8.
    table = opened("menu.csv", "a,b\nMENÜ“,für déjà vu\n".encode("cp1252"))
    assert next(table.records).values == {"a": "MENÜ“", "b": "für déjà vu"}


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        (b"a,b\nx,\xc3\xa9\xc3\xa9\n\x92,y\n", 3, "2 other characters are UTF-8"),
        (b"a,b\r\nx,\xe9\x81\r\n", 2, "0x81 stands for no letter in Windows-1252"),
        (b"a,b\nx,\xe9\x07\n", 2, "0x07 stands for no letter"),
        (b"a,b\nx,\0\n", 2, "NUL byte near offset 6"),
        (b"\xff\xfea\0,\0\n\0\0\xd8a\0", 0, "looks like UTF-16, but the bytes at offset 8"),
        (b"\xff\xfea\0,\0\n\0\0\0a\0", 0, "NUL"),
        (b"PK\x03\x04abc", 0, "ZIP archive"),
        (b"%PDF-1.7", 0, "PDF document"),
        (b"\x1f\x8b\x08\0", 0, "gzip"),
    ],
)
def test_an_encoding_that_is_not_clear_is_not_guessed(
    write: WriteFile, content: bytes, line: int, message: str
) -> None:
    path = write("unclear.csv", content)
    with pytest.raises(DataError, match=message) as caught:
        open_data(str(path))
    assert caught.value.where == (f"{path}:{line}" if line else str(path))
    assert caught.value.fix


@pytest.mark.parametrize("line_break", [b"\n", b"\r\n", b"\r"])
def test_the_line_of_a_byte_is_right_across_chunks(opened: OpenTable, line_break: bytes) -> None:
    # Lines of 8 bytes lie differently on the chunks than lines of 9.
    content = b"a,b" + line_break + (b"12345,7" + line_break) * 200_000 + b"\xe9,1" + line_break
    assert "on line 200,002 makes" in opened("long.csv", content).notes[0]


def test_characters_on_the_border_of_two_chunks_are_whole(opened: OpenTable) -> None:
    for shift in range(4):
        text = "x" * shift + "😀" * 300_000
        assert next(opened("border.txt", text).records).values == {"completion": text}


def test_the_hash_is_that_of_the_bytes(write: WriteFile) -> None:
    path = write("hash.csv", TEXT.encode("utf-16"))
    assert open_data(str(path)).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
