"""Findings by their codes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from fewtune.data.checks.finding import Finding
from fewtune.data.checks.material import Material
from fewtune.data.checks.runner import check
from fewtune.data.task import Task
from fewtune.types import Example, Message, Source

Found = Callable[..., dict[str, Finding]]


@pytest.fixture(scope="session")
def found() -> Found:
    """All findings about the rows, without `few_rows`."""

    def look(rows: Sequence[Example], kind: Any = "text", **known: Any) -> dict[str, Finding]:
        findings = check(Material(examples=rows, task=Task(kind=kind), **known))
        return {finding.code: finding for finding in findings if finding.code != "few_rows"}

    return look


@pytest.fixture(scope="session")
def conversation() -> Callable[..., Example]:
    """A row with turns written as `role: content`; those of the assistant are trained, those that end in ! are not."""

    def make(row: int, *turns: str | Message) -> Example:
        messages: list[Message] = []
        for turn in turns:
            if isinstance(turn, Message):
                messages.append(turn)
                continue
            role, _, content = turn.partition(": ")
            trained = role == "assistant" and not content.endswith("!")
            messages.append(Message(role=role, content=content, trained=trained))  # pyright: ignore[reportArgumentType]
        last = messages[-1].content if any(message.trained for message in messages) else ""
        source = Source(file="rows.jsonl", line=row + 1)
        return Example(row=row, prompt=f"prompt {row}", completion=last, source=source, messages=tuple(messages))

    return make
