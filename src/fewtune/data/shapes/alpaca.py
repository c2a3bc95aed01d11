"""Instructions with an input and an output, as Alpaca and Dolly write them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from fewtune.data.conversation import parse_messages
from fewtune.data.records import Record
from fewtune.data.shapes.cells import cell, structured, text
from fewtune.data.shapes.shape import Sample, Shape
from fewtune.errors import DataError
from fewtune.types import Example


@dataclass(frozen=True, kw_only=True)
class Alpaca(Shape):
    """The input, where there is one, stands below the instruction, a blank line between them."""

    system_column: str | None
    history_column: str | None

    def example(self, record: Record, row: int) -> Example:
        prompt = "\n\n".join(self._asked(record))
        completion = text(cell(record, self.completion_column), record.source)
        system = text(self._optional(record, self.system_column), record.source)
        history = structured(self._optional(record, self.history_column), str(record.source))
        if system or history:
            return self._conversation(record, row, system, _exchanges(history, record), (prompt, completion))
        return Example(row=row, prompt=prompt, completion=completion, source=record.source, group=self.group(record))

    def _asked(self, record: Record) -> list[str]:
        instruction, input_ = self.prompt_columns
        texts = [text(cell(record, instruction), record.source), text(record.values.get(input_), record.source)]
        return [one for one in texts if one]

    def _optional(self, record: Record, column: str | None) -> Any:
        return None if column is None else record.values.get(column)

    def _conversation(
        self, record: Record, row: int, system: str, history: Sequence[tuple[object, object]], last: tuple[str, str]
    ) -> Example:
        turns: list[dict[str, object]] = [{"role": "system", "content": system}] if system else []
        for asked, answered in (*history, last):
            turns += [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
        return self.conversation(record, row, parse_messages(turns, str(record.source), self.left_out))


def alpaca(sample: Sample) -> Shape | None:
    """Columns `instruction`, `input` (or Dolly's `context`) and `output` (or `response`)."""
    instruction, input_ = sample.column("instruction"), sample.column("input", "context")
    output = sample.column("output", "response")
    if instruction is None or input_ is None or output is None:
        return None
    system, history = sample.column("system"), sample.column("history")
    return Alpaca(
        name="Alpaca",
        prompt_columns=(instruction, input_),
        completion_column=output,
        group_column=sample.group_column,
        other_columns=tuple(column for column in (system, history) if column is not None),
        system_column=system,
        history_column=history,
    )


def _exchanges(history: object, record: Record) -> list[tuple[object, object]]:
    """Earlier questions and answers, each a list of the two."""
    exchanges = cast(list[object], history) if isinstance(history, list) else [history] if history else []
    pairs = [cast(list[object], exchange) for exchange in exchanges if isinstance(exchange, list)]
    if len(pairs) == len(exchanges) and all(len(pair) == 2 for pair in pairs):
        return [(asked, answered) for asked, answered in pairs]
    what = "The history is not a list of questions with their answers."
    raise DataError(what, where=str(record.source), fix='Write it as [["first question", "first answer"], ...].')
