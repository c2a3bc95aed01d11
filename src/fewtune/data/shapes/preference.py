"""A better and a worse answer to the same prompt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from fewtune.data.columns import PROMPT_NAMES
from fewtune.data.conversation import parse_messages, said
from fewtune.data.records import Record
from fewtune.data.shapes.cells import cell, structured, text
from fewtune.data.shapes.chat import tool_columns, tools_of
from fewtune.data.shapes.shape import Sample, Shape
from fewtune.errors import DataError
from fewtune.types import Example, Message

_ANSWER_BEGINS = "\n\nAssistant:"
"""How dialogues that are written as one text begin an answer."""
_ONE_ANSWER = "Let the two share their beginning and end each with one answer of the assistant."


@dataclass(frozen=True, kw_only=True)
class Preference(Shape):
    rejected_column: str

    def example(self, record: Record, row: int) -> Example:
        given = _value(record, self.prompt_columns[0]) if self.prompt_columns else None
        chosen, rejected = _value(record, self.completion_column), _value(record, self.rejected_column)
        if any(isinstance(value, list) for value in (given, chosen, rejected)):
            turns = (_prompt_turns(given), chosen, rejected)
            return self._of_turns(record, row, turns, tools_of(record, self.other_columns))
        texts = [text(value, record.source) for value in (given, chosen, rejected)]
        prompt, better, worse = texts if self.prompt_columns else _parted(texts[1], texts[2])
        _check_differ(better, worse, record)
        return Example(
            row=row,
            prompt=prompt,
            completion=better,
            rejected=worse,
            source=record.source,
            group=self.group(record),
        )

    def _of_turns(self, record: Record, row: int, values: tuple[object, object, object], tools: str | None) -> Example:
        given, chosen, rejected = (_turns(value, record, self.left_out) for value in values)
        shared = chosen[: _alike(chosen, rejected)]
        _check_differ(chosen, rejected, record)
        better, worse = _answer(chosen[len(shared) :], record), _answer(rejected[len(shared) :], record)
        prompt = shared if given and given[-1] in shared else (*given, *shared)
        messages = (*(replace(message, trained=False) for message in prompt), replace(better, trained=True))
        return replace(self.conversation(record, row, messages, tools), rejected=said(worse))


@dataclass(frozen=True, kw_only=True)
class OpenAIPreference(Preference):
    """`input.messages`, `preferred_output` and `non_preferred_output`."""

    def example(self, record: Record, row: int) -> Example:
        asked = structured(cell(record, self.prompt_columns[0]), str(record.source))
        if not isinstance(asked, dict):
            what = "The 'input' is not an object."
            raise DataError(what, where=str(record.source), fix='Write {"input": {"messages": [...]}, ...}.')
        inner = Record(source=record.source, values=cast(dict[str, Any], asked))
        turns = (
            _value(inner, "messages"),
            _value(record, self.completion_column),
            _value(record, self.rejected_column),
        )
        return self._of_turns(record, row, turns, tools_of(inner, ("tools", "functions")))


def preference(sample: Sample, asked_prompt: str | None = None) -> Shape | None:
    """Columns `chosen` and `rejected` with or without one of the prompt's names; or those of OpenAI."""
    asked, better, worse = (sample.column(name) for name in ("input", "preferred_output", "non_preferred_output"))
    if asked is not None and better is not None and worse is not None:
        return _shape(OpenAIPreference, sample, asked, better, worse)
    chosen, rejected = sample.column("chosen"), sample.column("rejected")
    if chosen is None or rejected is None:
        return None
    prompt = sample.column(*PROMPT_NAMES) if asked_prompt is None else sample.named(asked_prompt)
    return _shape(Preference, sample, prompt, chosen, rejected)


def _shape(kind: type[Preference], sample: Sample, prompt: str | None, chosen: str, rejected: str) -> Preference:
    note = "There is no prompt column: the prompt is what both answers begin with."
    return kind(
        name="preference pairs",
        prompt_columns=() if prompt is None else (prompt,),
        completion_column=chosen,
        rejected_column=rejected,
        group_column=sample.group_column,
        other_columns=(rejected, *tool_columns(sample)),
        decided=(note,) if prompt is None else (),
    )


def _value(record: Record, column: str) -> Any:
    """The value; a cell with the JSON text of turns stands for the turns."""
    value = cell(record, column)
    is_turns = isinstance(value, str) and value.lstrip().startswith('[{"role"')
    return structured(value, str(record.source)) if is_turns else value


def _prompt_turns(given: object) -> object:
    return [{"role": "user", "content": given}] if isinstance(given, str) and given else given or None


def _turns(value: object, record: Record, left_out: Counter[str]) -> tuple[Message, ...]:
    if value is None:
        return ()
    if isinstance(value, str):
        value = [{"role": "assistant", "content": value}]
    return parse_messages(value, str(record.source), left_out)


def _answer(turns: Sequence[Message], record: Record) -> Message:
    if len(turns) == 1 and turns[0].role == "assistant":
        return turns[0]
    what = "An answer is not one turn of the assistant."
    raise DataError(what, where=str(record.source), fix=_ONE_ANSWER)


def _check_differ(chosen: object, rejected: object, record: Record) -> None:
    if chosen == rejected:
        what = "The chosen and the rejected answer are the same."
        raise DataError(what, where=str(record.source), fix="Remove the row, or write a worse answer.")


def _parted(chosen: str, rejected: str) -> tuple[str, str, str]:
    """Prompt and answers of two texts that begin alike: parted at a border of words, or where an answer begins."""
    shared = chosen[: _alike(chosen, rejected)]
    begins = shared.rfind(_ANSWER_BEGINS)
    end = begins + len(_ANSWER_BEGINS) if begins >= 0 else max(shared.rfind(space) + 1 for space in " \n\t")
    return shared[:end], chosen[end:], rejected[end:]


def _alike(one: Sequence[object], other: Sequence[object]) -> int:
    """How many of the two's first items are the same."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (left, right) in pairs if left != right), min(len(one), len(other)))
