"""A form with one file, read while it comes in: the file's bytes are handed on, nothing of it is held or spooled."""

from __future__ import annotations

import unicodedata
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from fewtune.service.errors import ServiceError, invalid

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

Take = Callable[[bytes], Awaitable[None]]

_MOST_PARTS = 16
_MOST_HEADERS = 8
_HEADER_BYTES = 4096
_NAME_BYTES = 128
_LONGEST_NAME = 255
_ESCAPED = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Characters that are not seen, or that change how others are seen."""


@dataclass(kw_only=True)
class Form:
    """What stood beside the file's bytes."""

    fields: dict[str, str] = field(default_factory=dict[str, str])
    filename: str | None = None
    """As it may be shown; None where the form held no file."""


def described(properties: Mapping[str, Any], *, required: Sequence[str]) -> dict[str, Any]:
    """How a route that reads a form by itself describes it."""
    schema = {"type": "object", "required": list(required), "properties": dict(properties)}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


async def read_form(
    chunks: AsyncIterator[bytes], content_type: str, *, file_field: str, field_bytes: int, take: Take
) -> Form:
    """Read a whole form; `take` is awaited with the file's bytes as they come, wherever the file stands in the form.

    Raises ServiceError for a form that is broken, breaks off, or has too many or too large parts.
    """
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise ServiceError(415, "Send the file as multipart/form-data.", code="unsupported_media_type")
    reader = _Reader(file_field, field_bytes)
    try:
        parser = MultipartParser(
            boundary, reader.callbacks, max_header_count=_MOST_HEADERS, max_header_size=_HEADER_BYTES
        )
        async for chunk in chunks:
            parser.write(chunk)
            for piece in reader.drain():
                await take(piece)
        parser.finalize()
    except FormParserError as error:
        raise invalid("The form is not valid multipart/form-data.", code="invalid_form") from error
    if not reader.ended:
        raise invalid("The form breaks off.", code="invalid_form")
    return reader.form


def display_name(given: bytes) -> str:
    """A file's name as it may be shown. It names nothing on the server, and could not: no part of a path is left."""
    text = given.decode("utf-8", "replace").replace("/", "%2F").replace("\\", "%5C")
    shown = "".join(ascii(one)[1:-1] if unicodedata.category(one) in _ESCAPED else one for one in text)
    return shown[:_LONGEST_NAME] or "upload"


class _Reader:
    """The parser's callbacks; they only note, since they cannot wait."""

    def __init__(self, file_field: str, field_bytes: int) -> None:
        self.form = Form()
        self.ended = False
        self._file_field = file_field.encode()
        self._field_bytes = field_bytes
        self._pieces: list[bytes] = []
        self._parts = 0
        self._header_name, self._header_value = bytearray(), bytearray()
        self._disposition = b""
        self._name: bytes | None = None
        self._value = bytearray()
        self.callbacks: MultipartCallbacks = {
            "on_part_begin": self._begin,
            "on_header_field": self._header_name_part,
            "on_header_value": self._header_value_part,
            "on_header_end": self._end_header,
            "on_headers_finished": self._name_part,
            "on_part_data": self._data,
            "on_part_end": self._end_part,
            "on_end": self._end,
        }

    def drain(self) -> list[bytes]:
        pieces, self._pieces = self._pieces, []
        return pieces

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > _MOST_PARTS:
            raise invalid(f"The form has more than {_MOST_PARTS} parts.", code="invalid_form")
        self._disposition, self._name, self._value = b"", None, bytearray()

    def _header_name_part(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _header_value_part(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _end_header(self) -> None:
        if bytes(self._header_name).lower() == b"content-disposition":
            self._disposition = bytes(self._header_value)
        self._header_name, self._header_value = bytearray(), bytearray()

    def _name_part(self) -> None:
        _kind, options = parse_options_header(self._disposition)
        self._name = options.get(b"name")
        if not self._name or len(self._name) > _NAME_BYTES:
            raise invalid("A part of the form has no name, or a very long one.", code="invalid_form")
        if self._name == self._file_field:
            if self.form.filename is not None:
                raise invalid("The form holds more than one file.", code="invalid_form")
            self.form.filename = display_name(options.get(b"filename", b""))
        elif b"filename" in options:
            raise invalid(f"The file belongs into the field '{self._file_field.decode()}'.", code="invalid_form")

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._name == self._file_field:
            self._pieces.append(data[start:end])
            return
        self._value += data[start:end]
        if len(self._value) > self._field_bytes:
            raise invalid(f"A field of the form is larger than {self._field_bytes:,} bytes.", code="invalid_form")

    def _end_part(self) -> None:
        if self._name is not None and self._name != self._file_field:
            self.form.fields[self._name.decode("utf-8", "replace")] = self._value.decode("utf-8", "replace")

    def _end(self) -> None:
        self.ended = True
