"""A text file line by line."""

from __future__ import annotations

import io
from collections.abc import Iterator

from fewtune.data.formats.encoding import TextFile, too_long
from fewtune.data.formats.limits import MOST_CHARACTERS


def lines_of(text: TextFile) -> Iterator[str]:
    """Each line with its line break, which is LF, CRLF or a lone CR; nothing else ends a line.

    Raises DataError for a line longer than any that is read, before the whole of it is in memory.
    """
    begun: list[str] = []
    number = 1
    for block in text.blocks():
        begun.append(block)
        if "\n" in block or "\r" in block or begun[0].endswith("\r"):
            lines = list(io.StringIO("".join(begun), newline=""))
            # A CR at the end may be the first half of a CRLF.
            begun = [] if lines[-1].endswith("\n") else [lines.pop()]
            yield from lines
            number += len(lines)
        if sum(map(len, begun)) > MOST_CHARACTERS:
            raise too_long(f"{text.name}:{number}")
    yield from filter(None, ["".join(begun)])
