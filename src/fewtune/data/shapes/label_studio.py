"""Label Studio's JSON export: the task's text, and the choice or text of its first annotation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from fewtune.data.columns import PROMPT_NAMES, listed
from fewtune.data.records import Record
from fewtune.data.shapes.cells import cell, text
from fewtune.data.shapes.shape import Sample, Shape
from fewtune.errors import DataError
from fewtune.types import Example

_ADVICE = "Export from Label Studio as CSV instead, and name the two with --prompt-column and --completion-column."
_VALUES = ("choices", "text", "rating", "taxonomy")


@dataclass(frozen=True, kw_only=True)
class LabelStudio(Shape):
    def example(self, record: Record, row: int) -> Example | None:
        done = [one for one in _objects(cell(record, self.completion_column)) if not one.get("was_cancelled")]
        results = [result for one in done[:1] for result in _objects(one.get("result"))]
        if not results:
            self.left_out["tasks without an annotation"] += 1
            return None
        if len(done) > 1:
            self.left_out["second and further annotations of a task"] += len(done) - 1
        return Example(
            row=row,
            prompt=_prompt(record, cell(record, self.prompt_columns[0])),
            completion=_answer(record, results),
            source=record.source,
            group=self.group(record),
        )


def label_studio(sample: Sample) -> Shape | None:
    """Columns `data`, an object, and `annotations`, a list."""
    data, annotations = sample.column("data"), sample.column("annotations")
    if data is None or annotations is None:
        return None
    if not all(isinstance(value, dict) for value in sample.values(data)):
        return None
    if not all(isinstance(value, list) for value in sample.values(annotations)):
        return None
    return LabelStudio(
        name="Label Studio export",
        prompt_columns=(data,),
        completion_column=annotations,
        group_column=sample.group_column,
    )


def _prompt(record: Record, data: object) -> str:
    """The only text of the task, or the one of a usual name."""
    fields = cast(dict[str, Any], data) if isinstance(data, dict) else {}
    texts = [name for name, value in fields.items() if isinstance(value, str)]
    usual = [name for name in texts if name.casefold() in PROMPT_NAMES]
    for names in (texts, usual):
        if len(names) == 1:
            return str(fields[names[0]])
    what = f"It is not clear which text of the task is the prompt; there are {listed(texts)}."
    raise DataError(what, where=str(record.source), fix=_ADVICE)


def _answer(record: Record, results: list[Mapping[str, Any]]) -> str:
    if len({str(result.get("from_name")) for result in results}) > 1:
        raise DataError("The task has several questions.", where=str(record.source), fix=_ADVICE)
    value = results[0].get("value")
    fields = cast(dict[str, Any], value) if isinstance(value, dict) else {}
    found = [fields[name] for name in _VALUES if name in fields and "start" not in fields]
    if not found:
        what = "The annotation is neither a choice nor a text."
        raise DataError(what, where=str(record.source), fix=_ADVICE)
    answers = cast(list[object], found[0]) if isinstance(found[0], list) else [cast(object, found[0])]
    return text(answers[0] if len(answers) == 1 else answers, record.source)


def _objects(value: object) -> list[Mapping[str, Any]]:
    found = cast(list[object], value) if isinstance(value, list) else []
    return [cast(Mapping[str, Any], one) for one in found if isinstance(one, dict)]
