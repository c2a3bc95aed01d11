"""Which shape the rows of a table have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from fewtune.data.columns import named
from fewtune.data.records import Record
from fewtune.data.shapes.alpaca import alpaca
from fewtune.data.shapes.chat import chat, chat_pairs
from fewtune.data.shapes.chatgpt_export import chatgpt_export
from fewtune.data.shapes.label_studio import label_studio
from fewtune.data.shapes.lines import lines
from fewtune.data.shapes.pairs import pairs
from fewtune.data.shapes.preference import preference
from fewtune.data.shapes.shape import Columns, Sample, Shape
from fewtune.data.shapes.sharegpt import sharegpt
from fewtune.data.shapes.slack_export import slack_export
from fewtune.data.shapes.ticket_export import intercom_export, zendesk_export
from fewtune.errors import UsageError

RECOGNISERS: tuple[Callable[[Sample], Shape | None], ...] = (
    chatgpt_export,
    slack_export,
    zendesk_export,
    intercom_export,
    label_studio,
    preference,
    sharegpt,
    chat,
    chat_pairs,
    alpaca,
    lines,
)
"""In this order the first that fits is taken; where none does, the rows are pairs. A new shape is added here."""


def recognise(columns: Sequence[str], sample: Sequence[Record], asked: Columns, where: str) -> Shape:
    """The shape of rows with these columns, of which `sample` holds the first.

    Where the user names the prompt or the completion, or gives a template, the rows are pairs. Raises DataError, at
    `where`, if the shape leaves a doubt, and UsageError if what was asked for contradicts itself.
    """
    whole = Sample(columns=columns, records=sample, where=where)
    group = None if asked.group is None else whole.named(asked.group)
    seen = Sample(columns=columns, records=sample, where=where, group_column=group)
    references = [named(columns, name, where, "Name it with --reference-column.") for name in asked.references]
    return _referring(_shape(seen, asked), references)


def _shape(seen: Sample, asked: Columns) -> Shape:
    chosen = asked.completion is not None or asked.prompt_template is not None
    if chosen or asked.prompt is not None:
        return (None if chosen else preference(seen, asked.prompt)) or pairs(seen, asked)
    found = (recogniser(seen) for recogniser in RECOGNISERS)
    return next((shape for shape in found if shape is not None), None) or pairs(seen, asked)


def _referring(shape: Shape, references: Sequence[str]) -> Shape:
    """References decide nothing about the shape, so that rows are learnt alike with and without them."""
    taken = next((column for column in references if column in shape.used_columns), None)
    if taken is None:
        return replace(shape, reference_columns=tuple(dict.fromkeys(references)))
    role = "the prompt" if taken in shape.prompt_columns else "used otherwise"
    role = "the completion" if taken == shape.completion_column else role
    raise UsageError(
        f"The column {taken!r} cannot be both {role} and a reference.",
        where="--reference-column",
        fix="Name a column of further answers, or say which is the completion with --completion-column.",
    )
