"""A JSON document: a list of objects, an object around such a list, or one object."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, cast

from fewtune.data.columns import listed
from fewtune.data.formats.encoding import TextFile
from fewtune.data.formats.header import check_width
from fewtune.data.formats.json_values import invalid, record_of, value_at
from fewtune.data.formats.keys import table_of
from fewtune.data.formats.limits import MOST_CHARACTERS
from fewtune.data.records import Record, Table
from fewtune.errors import DataError
from fewtune.types import Source

_SPACE = re.compile(r"[ \t\r\n]*")
_WHAT = "This record"
_FIX = "Export it again, or check the document with a JSON editor."


def read_json_document(text: TextFile, *notes: str) -> Table:
    """It is parsed a piece at a time, so that its values never stand in memory all at once.

    Raises DataError for what holds no objects, with the line on which the record in question begins.
    """
    document = _Document(text)
    if document.peek() == "[":
        return table_of(lambda: _of_list(text), text, *notes)
    if document.peek() != "{":
        raise _not_records(document)
    lists = [key for key, holds_records in _kinds_of_members(document) if holds_records]
    document.expect_end()
    if len(lists) == 1:
        note = f"The records are those of the list {lists[0]!r}."
        return table_of(lambda: _of_member(text, lists[0]), text, *notes, note)
    several = f"The document is read as a single record; it holds several lists: {listed(lists)}."
    return table_of(lambda: _of_object(text), text, *notes, *([several] if lists else []))


def _of_list(text: TextFile) -> Iterator[Record]:
    document = _Document(text)
    for line, value, begin in document.elements():
        yield document.record(line, value, begin)
    document.expect_end()


def _of_member(text: TextFile, key: str) -> Iterator[Record]:
    document = _Document(text)
    for found in document.members():
        if found == key:
            for line, value, begin in document.elements():
                yield document.record(line, value, begin)
            return
        document.value()


def _of_object(text: TextFile) -> Iterator[Record]:
    document = _Document(text)
    yield document.record(*document.value())


def _kinds_of_members(document: _Document) -> Iterator[tuple[str, bool]]:
    """Each key of the object that the document is, and whether its value is a list of records."""
    for key in document.members():
        if document.peek() == "[":
            count = records = turns = 0
            for _, value, _ in document.elements():
                count += 1
                records += isinstance(value, dict)
                turns += isinstance(value, dict) and _is_turn(cast(dict[str, Any], value))
            yield key, 0 < count == records and turns < count
        else:
            document.value()
            yield key, False


def _is_turn(value: dict[str, Any]) -> bool:
    """Turns of a conversation are parts of one record, not records."""
    return "role" in value or ("from" in value and "value" in value)


def _not_records(document: _Document) -> DataError:
    what = "The document is no list of objects, and no object." if document.peek() else "The file is empty."
    fix = 'Give a list of records: [{"prompt": "...", "completion": "..."}].'
    return DataError(what, where=document.where(), fix=fix)


class _Document:
    """A place in the text of a document; what was passed is forgotten."""

    def __init__(self, text: TextFile) -> None:
        self._text = text
        self._blocks = text.blocks()
        self._buffer = ""
        self._at = 0
        self._line = 1

    def where(self) -> str:
        """The place, for messages."""
        return f"{self._text.name}:{self._line}"

    def peek(self) -> str:
        """The next character that is no white space; empty at the end."""
        while True:
            self._move_to(cast(re.Match[str], _SPACE.match(self._buffer, self._at)).end())
            if self._at < len(self._buffer):
                return self._buffer[self._at]
            if not self._grow():
                return ""

    def value(self) -> tuple[int, Any, int]:
        """The next value, the line on which it begins, and its length."""
        self.peek()
        line = self._line
        while True:
            try:
                value, end = value_at(self._buffer, self._at)
            except json.JSONDecodeError as error:
                if len(self._buffer) - self._at > MOST_CHARACTERS or not self._grow():
                    raise self._invalid(error) from error
            except (ValueError, RecursionError) as error:
                raise invalid(error, _WHAT, self.where(), _FIX) from error
            else:
                # A number at the end of the buffer may go on behind it.
                if end < len(self._buffer) or not self._grow():
                    begin = self._at
                    self._move_to(end)
                    return line, value, end - begin

    def elements(self) -> Iterator[tuple[int, Any, int]]:
        """The values of the list that begins here."""
        self._expect("[")
        if self.peek() == "]":
            self._step()
            return
        while True:
            yield self.value()
            if self._expect(",", "]") == "]":
                return

    def members(self) -> Iterator[str]:
        """The keys of the object that begins here; the caller takes each one's value."""
        self._expect("{")
        seen: set[str] = set()
        if self.peek() == "}":
            self._step()
            return
        while True:
            if self.peek() != '"':
                raise self._unexpected('"')
            key = cast(str, self.value()[1])
            if key in seen:
                raise invalid(ValueError(f"the key {key!r} occurs twice"), "The document", self.where(), _FIX)
            seen.add(key)
            check_width(len(seen), self.where())
            self._expect(":")
            yield key
            if self._expect(",", "}") == "}":
                return

    def record(self, line: int, value: object, length: int) -> Record:
        """Of the value that was just taken."""
        where = f"{self._text.name}:{line}"
        values = record_of(value, self._buffer, self._at - length, self._at, _WHAT, where)
        return Record(source=Source(file=self._text.name, line=line), values=values)

    def expect_end(self) -> None:
        """Raises DataError where more follows."""
        if self.peek():
            what = "Something follows after the end of the JSON document."
            fix = "If there is one object a line, let the file's name end in .jsonl."
            raise DataError(what, where=self.where(), fix=fix)

    def _expect(self, *characters: str) -> str:
        found = self.peek()
        if found not in characters or not found:
            raise self._unexpected(*characters)
        self._step()
        return found

    def _unexpected(self, *characters: str) -> DataError:
        wanted, found = " or ".join(characters), self.peek()
        instead = f"{found!r} stands where {wanted} should" if found else f"it ends where {wanted} should stand"
        return DataError(f"The document is not valid JSON: {instead}.", where=self.where(), fix=_FIX)

    def _step(self) -> None:
        self._at += 1

    def _move_to(self, place: int) -> None:
        self._line += self._buffer.count("\n", self._at, place)
        self._at = place

    def _grow(self) -> bool:
        """Twice as much text ahead, so that a long value is not parsed again for every block of it."""
        ahead = [self._buffer[self._at :]]
        wanted = max(1, 2 * len(ahead[0]))
        self._at = 0
        count = len(ahead[0])
        for block in self._blocks:
            ahead.append(block)
            count += len(block)
            if count >= wanted:
                break
        grown = count > len(ahead[0])
        self._buffer = "".join(ahead)
        return grown

    def _invalid(self, error: json.JSONDecodeError) -> DataError:
        if len(self._buffer) - self._at > MOST_CHARACTERS:
            what = "This record is not valid JSON, or longer than any that is read"
            return DataError(f"{what}: {error.msg}.", where=self.where(), fix=_FIX)
        line = self._line + self._buffer.count("\n", self._at, error.pos)
        what = f"The document is not valid JSON: {error.msg}."
        return DataError(what, where=f"{self._text.name}:{line}", fix=_FIX)
