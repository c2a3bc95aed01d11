"""Which task the rows are: the one that the user names, else the one that they look like."""

from __future__ import annotations

from collections.abc import Sequence

from fewtune.data.task import Task, recognise
from fewtune.errors import UsageError
from fewtune.evaluation.metric import TASKS
from fewtune.types import Example


def asked_task(kind: str | None, examples: Sequence[Example]) -> Task:
    """Raises UsageError for a name that is none of a task; the rows are not asked whether they suit it."""
    recognised = recognise(examples)
    if kind is None or kind == recognised.kind:
        return recognised
    for known in TASKS:
        if kind == known:
            labels = sorted({example.completion.strip() for example in examples} - {""}) if kind == "labels" else ()
            return Task(kind=known, labels=tuple(labels))
    raise UsageError(f"There is no task {kind!r}.", where="--task", fix=f"Choose one of: {', '.join(TASKS)}.")
