"""A prompt and a completion in columns of their own: the shape of most files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from fewtune.data.columns import choose_columns, choose_completion
from fewtune.data.records import Record
from fewtune.data.shapes.cells import lacking, text
from fewtune.data.shapes.shape import Columns, Sample, Shape
from fewtune.data.shapes.template import Template, parse_template
from fewtune.errors import UsageError
from fewtune.types import Example

_LABELS = ("category", "class", "intent", "label", "sentiment", "target")
"""Columns that hold labels rather than answers; it only decides what the shape is called."""


@dataclass(frozen=True, kw_only=True)
class Pairs(Shape):
    def examples(self, records: Iterable[Record], first_row: int = 0) -> Iterator[Example]:
        """As every shape does, in one loop without a call a row: a million rows take seconds."""
        prompt, completion, group = self.prompt_columns[0], self.completion_column, self.group_column
        judged = bool(self.reference_columns)
        for row, record in enumerate(records, first_row):
            values, source = record.values, record.source
            try:
                given, wanted = values[prompt], values[completion]
            except KeyError as error:
                raise lacking(record, [prompt, completion]) from error
            yield Example(
                row=row,
                prompt=given if type(given) is str else text(given, source),
                completion=wanted if type(wanted) is str else text(wanted, source),
                source=source,
                group=None if group is None else self.group(record),
                references=self.references(record) if judged else (),
            )

    def example(self, record: Record, row: int) -> Example:
        return next(self.examples([record], row))


@dataclass(frozen=True, kw_only=True)
class Filled(Shape):
    """The prompt is made of several columns."""

    template: Template

    def example(self, record: Record, row: int) -> Example:
        if self.completion_column not in record.values:
            raise lacking(record, [self.completion_column])
        return Example(
            row=row,
            prompt=self.template.filled(record),
            completion=text(record.values[self.completion_column], record.source),
            source=record.source,
            group=self.group(record),
        )


def pairs(sample: Sample, asked: Columns) -> Shape:
    """The two columns, as named, otherwise by their usual names; raises DataError where these leave a doubt."""
    if asked.prompt_template is not None:
        return _filled(sample, asked, asked.prompt_template)
    prompt, completion = choose_columns(
        sample.columns, prompt=asked.prompt, completion=asked.completion, where=sample.where
    )
    return Pairs(
        name="text and label" if completion.strip().casefold() in _LABELS else "prompt and completion",
        prompt_columns=(prompt,),
        completion_column=completion,
        group_column=sample.group_column,
    )


def _filled(sample: Sample, asked: Columns, written: str) -> Filled:
    if asked.prompt is not None:
        raise UsageError(
            "--prompt-column and --prompt-template both say what the prompt is.", fix="Give one of the two."
        )
    template = parse_template(written, sample.named)
    completion = choose_completion(sample.columns, asked.completion, set(template.columns), sample.where)
    return Filled(
        name="several columns and completion" if written else "completions only",
        prompt_columns=tuple(dict.fromkeys(template.columns)),
        completion_column=completion,
        group_column=sample.group_column,
        template=template,
    )
