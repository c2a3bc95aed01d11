"""Which shape the rows of a table have."""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
    named = asked.completion is not None or asked.prompt_template is not None
    if named or asked.prompt is not None:
        return (None if named else preference(seen, asked.prompt)) or pairs(seen, asked)
    found = (recogniser(seen) for recogniser in RECOGNISERS)
    return next((shape for shape in found if shape is not None), None) or pairs(seen, asked)
