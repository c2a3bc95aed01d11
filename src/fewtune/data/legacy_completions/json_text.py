"""JSON as leniently as pandas decodes it."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

_DEEPEST = 1024
_MOST_DECIMALS = 15
_WORD = 2**64
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_LITERALS = {"true": True, "false": False, "null": None, "NaN": None}
_ENDLESS = re.compile(r"(-?)Infinity")
_NUMBER = re.compile(r"(-?)([0-9]*)(?:(\.)([0-9]*))?(?:([eE])([+-]?)([0-9]*))?")
_PLAIN = re.compile(r'[^"\\\0]*')
_HEXADECIMAL = re.compile("[0-9a-fA-F]{4}")
# What Python's decoder takes for something else than pandas does: halves of characters, NUL, and long integers.
_OTHERWISE = re.compile(r"\\u[dD][89abAB]|\0|[0-9]{19}")


def decode(text: str) -> Any:
    """The value; raises ValueError where pandas does.

    Unlike JSON proper there may be a comma before a closing brace, leading zeros, a number that breaks off (`1.`,
    `2e`, `-`) and control characters in text. NaN is null. A fraction has 15 digits, and its value is what pandas
    computes, which need not be the nearest.
    """
    if not _OTHERWISE.search(text):
        try:
            return json.loads(text, strict=False, parse_float=_real, parse_constant=_constant)
        except (ValueError, RecursionError):
            pass  # Either it is wrong or only lenient; the slower way tells.
    try:
        return _Decoder(text).document()
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def _constant(word: str) -> float | None:
    return None if word == "NaN" else float(word)


def _real(written: str) -> float:
    found = _NUMBER.match(written)
    assert found
    return _fraction(found)


def _fraction(found: re.Match[str]) -> float:
    sign, whole, _, decimals, exponent, direction, power = found.groups()
    digits = (decimals or "")[:_MOST_DECIMALS]
    shift = float(f"1e-{len(digits)}")
    value = (float(_magnitude(whole, bool(sign))) + float(int(digits or "0")) * shift) * (-1.0 if sign else 1.0)
    return value * _power_of_ten(float(direction + (power or "0"))) if exponent else value


def _power_of_ten(exponent: float) -> float:
    try:
        return 10.0**exponent
    except OverflowError:
        return float("inf")


def _magnitude(digits: str, negative: bool) -> int:
    """The whole number, kept to 64 bits as pandas keeps it: some that are too big wrap round unnoticed."""
    if len(digits) < 19:
        return int(digits or "0")
    value = 0
    for digit in digits:
        before, value = value, (value * 10 + int(digit)) % _WORD
        if (negative and value > _WORD // 2) or (not negative and before > value):
            raise ValueError("a number is too big")
    return value


class _Decoder:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0

    def document(self) -> Any:
        value = self._value()
        self._skip_blanks()
        if self._at < len(self._text):
            self._fail("something follows the value")
        return value

    def _fail(self, reason: str) -> NoReturn:
        raise ValueError(f"{reason} at character {self._at + 1}")

    def _skip_blanks(self) -> None:
        while self._at < len(self._text) and self._text[self._at] in " \t\r\n":
            self._at += 1

    def _take(self, character: str) -> bool:
        found = self._text.startswith(character, self._at)
        self._at += found
        return found

    def _value(self) -> Any:
        self._skip_blanks()
        match self._text[self._at : self._at + 1]:
            case '"':
                return self._string()
            case "[":
                return self._nested(self._list)
            case "{":
                return self._nested(self._object)
            case _:
                return self._scalar()

    def _nested(self, decode: Any) -> Any:
        self._at += 1
        self._depth += 1
        if self._depth > _DEEPEST:
            self._fail("it is nested too deep")
        value = decode()
        self._depth -= 1
        return value

    def _scalar(self) -> Any:
        for word, value in _LITERALS.items():
            if self._text.startswith(word, self._at):
                self._at += len(word)
                return value
        if endless := _ENDLESS.match(self._text, self._at):
            self._at = endless.end()
            return float(endless.group())
        return self._number()

    def _number(self) -> int | float:
        found = _NUMBER.match(self._text, self._at)
        if not found or not (found[1] or found[2]):
            self._fail("a value is missing")
        self._at = found.end()
        if found[3] or found[5]:
            return _fraction(found)
        value = _magnitude(found[2], bool(found[1]))
        return -value if found[1] else value

    def _list(self) -> list[Any]:
        items: list[Any] = []
        self._skip_blanks()
        if self._take("]"):
            return items
        while True:
            items.append(self._value())
            self._skip_blanks()
            if self._take("]"):
                return items
            if not self._take(","):
                self._fail("a comma or ] is missing")

    def _object(self) -> dict[str, Any]:
        items: dict[str, Any] = {}
        while True:
            self._skip_blanks()
            if self._take("}"):
                return items
            if not self._text.startswith('"', self._at):
                self._fail("a key in double quotes is missing")
            key = self._string()
            self._skip_blanks()
            if not self._take(":"):
                self._fail("a colon is missing")
            items[key] = self._value()
            self._skip_blanks()
            if self._take("}"):
                return items
            if not self._take(","):
                self._fail("a comma or } is missing")

    def _string(self) -> str:
        self._at += 1
        pieces: list[str] = []
        # The first half of a character waits for the second, whatever stands between the two; at the end it is lost.
        half = 0
        while True:
            found = _PLAIN.match(self._text, self._at)
            assert found
            pieces.append(found.group())
            self._at = found.end()
            if self._take('"'):
                return "".join(pieces)
            if not self._take("\\"):
                self._fail("a string does not end")
            if self._take("u"):
                half = self._escaped_unit(half, pieces)
            else:
                pieces.append(self._escaped_character())

    def _escaped_character(self) -> str:
        letter = self._text[self._at : self._at + 1]
        if not letter or letter not in _ESCAPES:
            self._fail("an escape is not known")
        self._at += 1
        return _ESCAPES[letter]

    def _escaped_unit(self, half: int, pieces: list[str]) -> int:
        digits = _HEXADECIMAL.match(self._text, self._at)
        if not digits:
            self._fail("four hexadecimal digits are missing")
        self._at = digits.end()
        unit = int(digits.group(), 16)
        if half:
            if unit & 0xFC00 != 0xDC00:
                self._fail("the second half of a character is missing")
            pieces.append(chr(0x10000 + ((half - 0xD800) << 10 | (unit - 0xDC00))))
            return 0
        if unit & 0xFC00 == 0xD800:
            return unit
        pieces.append(chr(unit))
        return 0
