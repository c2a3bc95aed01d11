"""Prompts made of several columns: `{title} ({year})`."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from fewtune.data.records import Record
from fewtune.data.shapes.cells import cell, text
from fewtune.errors import UsageError

_PIECE = re.compile(r"\{\{|\}\}|\\[nt\\]|\{[^{}]*\}|[{}]")
_ESCAPED = {"{{": "{", "}}": "}", r"\n": "\n", r"\t": "\t", r"\\": "\\"}
_FIX = "Put the names of columns in braces, as in '{title} ({year})', and write a brace itself twice."


@dataclass(frozen=True, kw_only=True)
class Template:
    """Text and columns in turn: it begins with a text, perhaps an empty one, and ends with one."""

    texts: tuple[str, ...]
    columns: tuple[str, ...]
    """One fewer than the texts."""

    def filled(self, record: Record) -> str:
        """Raises DataError where the record lacks a column."""
        cells = [text(cell(record, column), record.source) for column in self.columns]
        return self.texts[0] + "".join(filling + after for filling, after in zip(cells, self.texts[1:], strict=True))


def parse_template(template: str, column: Callable[[str], str]) -> Template:
    """Parse strictly: a field is a column's whole name, nothing can be looked up in it, and nothing is formatted.

    `{{` and `}}` are braces, `\\n` a line break, `\\t` a tab and `\\\\` a backslash, since a shell passes these on as
    they stand. `column` gives the name as it is spelt in the file, or raises. Raises UsageError for a brace that has no
    other, and for a template without a field; an empty one is an empty prompt.
    """
    texts, columns = [""], list[str]()
    end = 0
    for piece in _PIECE.finditer(template):
        texts[-1] += template[end : piece.start()]
        end = piece.end()
        if piece[0] in _ESCAPED:
            texts[-1] += _ESCAPED[piece[0]]
        elif len(piece[0]) > 2:
            columns.append(column(piece[0][1:-1]))
            texts.append("")
        else:
            what = "is empty" if piece[0] == "{}" else "has no other"
            raise UsageError(f"The {piece[0]!r} at character {piece.start() + 1} of the template {what}.", fix=_FIX)
    texts[-1] += template[end:]
    if template and not columns:
        raise UsageError("The prompt template names no column.", fix=_FIX)
    return Template(texts=tuple(texts), columns=tuple(columns))
