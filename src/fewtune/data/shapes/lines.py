"""One text a row and nothing else: completions without a prompt, or cards with a tab between their sides."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from fewtune.data.columns import COMPLETION_NAMES
from fewtune.data.records import Record
from fewtune.data.shapes.cells import cell, text
from fewtune.data.shapes.shape import Sample, Shape
from fewtune.errors import DataError
from fewtune.types import Example

_CHAT_LINE = re.compile(r"\u200e?\[?\d{1,4}[./-]\d{1,2}[./-]\d{2,4},? \d{1,2}[:.]\d{2}")
_SHARE_OF_CHAT = 0.5


@dataclass(frozen=True, kw_only=True)
class Completions(Shape):
    def example(self, record: Record, row: int) -> Example:
        completion = text(cell(record, self.completion_column), record.source)
        return Example(row=row, prompt="", completion=completion, source=record.source, group=self.group(record))


@dataclass(frozen=True, kw_only=True)
class Cards(Shape):
    """Front, tab, back, as Anki and Quizlet export them; Anki's lines that begin with `#` are about the file."""

    def example(self, record: Record, row: int) -> Example | None:
        line = text(cell(record, self.completion_column), record.source)
        if _is_about_the_file(line):
            self.left_out["lines that begin with # and a name"] += 1
            return None
        if line.count("\t") != 1:
            what = "This line is no card: the first lines have one tab each, between prompt and completion."
            raise DataError(what, where=str(record.source), fix="Write prompt, tab, completion on every line.")
        prompt, completion = line.split("\t")
        return Example(row=row, prompt=prompt, completion=completion, source=record.source)


def lines(sample: Sample) -> Shape | None:
    """A single column that is `text` or one of the completion's usual names."""
    if len(sample.columns) != 1 or sample.column("text", *COMPLETION_NAMES) is None:
        return None
    column = sample.columns[0]
    texts = [value for value in sample.values(column) if isinstance(value, str)]
    _refuse_a_chat_log(texts, sample.where)
    if _are_cards(texts):
        note = "Each line is a card: the prompt stands before the tab, the completion behind it."
        return Cards(name="cards", prompt_columns=(column,), completion_column=column, decided=(note,))
    note = "There are no prompts: each row is a completion of nothing."
    return Completions(
        name="completions only",
        prompt_columns=(),
        completion_column=column,
        group_column=sample.group_column,
        decided=(note,),
    )


def _is_about_the_file(line: str) -> bool:
    return re.match(r"#[a-z ]+:", line) is not None


def _are_cards(texts: Sequence[str]) -> bool:
    cards = [line for line in texts if not _is_about_the_file(line)]
    return bool(cards) and all(line.count("\t") == 1 for line in cards)


def _refuse_a_chat_log(texts: Sequence[str], where: str) -> None:
    if not texts or sum(_CHAT_LINE.match(line) is not None for line in texts) < _SHARE_OF_CHAT * len(texts):
        return
    raise DataError(
        "This is the log of a chat (as WhatsApp exports it): it does not say which message answers which.",
        where=where,
        fix="Make a table of it with the columns 'prompt' and 'completion', one question and its answer a row.",
    )
