"""A channel of a Slack export: threads become a question and its answer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from fewtune.data.records import Record
from fewtune.data.shapes.cells import text
from fewtune.data.shapes.shape import Sample, Shape
from fewtune.types import Example

_ESCAPED = (("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&"))
"""What Slack writes for three characters; the last must be turned back last."""


@dataclass(frozen=True, kw_only=True)
class SlackExport(Shape):
    def examples(self, records: Iterable[Record], first_row: int = 0) -> Iterator[Example]:
        """One a thread, in the order in which the threads began in the file."""
        threads: defaultdict[str, list[Record]] = defaultdict(list)
        for record in records:
            if self._is_said_by_a_person(record):
                threads[str(record.values.get("thread_ts") or record.values.get("ts"))].append(record)
        row = first_row
        for began, messages in threads.items():
            example = self._thread(began, sorted(messages, key=_time), row)
            if example is not None:
                yield example
                row += 1

    def example(self, record: Record, row: int) -> Example | None:
        return next(self.examples([record], row), None)

    def _is_said_by_a_person(self, record: Record) -> bool:
        values = record.values
        if values.get("bot_id") or values.get("subtype") == "bot_message":
            self.left_out["messages of bots"] += 1
        elif values.get("subtype") not in (None, "", "thread_broadcast", "file_share") or not values.get("user"):
            self.left_out["joins and other notices"] += 1
        elif not isinstance(values.get("text"), str) or not values["text"]:
            self.left_out["messages without text"] += 1
        else:
            return True
        return False

    def _thread(self, began: str, messages: list[Record], row: int) -> Example | None:
        """The asker's first messages are the prompt, the first answer of somebody else the completion."""
        first = messages[0]
        if str(first.values.get("ts")) != began:
            self.left_out["replies to what is not in this file"] += len(messages)
            return None
        asker = first.values["user"]
        answer = next((place for place, one in enumerate(messages) if one.values["user"] != asker), None)
        if answer is None:
            self.left_out["messages that nobody answered in a thread"] += len(messages)
            return None
        if len(messages) > answer + 1:
            self.left_out["later messages of threads"] += len(messages) - answer - 1
        return Example(
            row=row,
            prompt="\n".join(_said(message) for message in messages[:answer]),
            completion=_said(messages[answer]),
            source=first.source,
            group=self.group(first),
            references=self.references(first),
        )


def slack_export(sample: Sample) -> Shape | None:
    """Columns `ts`, `text`, `user` and `type`, the last being `message`."""
    kinds = set(map(str, sample.values("type"))) if "type" in sample.columns else set[str]()
    if not {"ts", "text", "user", "type"} <= set(sample.columns) or kinds != {"message"}:
        return None
    return SlackExport(
        name="Slack export",
        prompt_columns=("text",),
        completion_column="text",
        group_column=sample.group_column,
        other_columns=tuple(
            column for column in ("user", "ts", "thread_ts", "type", "subtype", "bot_id") if column in sample.columns
        ),
        decided=("Each thread is an example: what is asked, and the first answer of somebody else.",),
    )


def _time(message: Record) -> tuple[int, str]:
    """Slack's times are digits, a point and six digits: of the same length they sort as text."""
    time = text(message.values.get("ts"), message.source)
    return len(time), time


def _said(message: Record) -> str:
    said = str(message.values["text"])
    for escaped, character in _ESCAPED:
        said = said.replace(escaped, character)
    return said
