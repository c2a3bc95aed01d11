from __future__ import annotations

from collections.abc import Callable

from fewtune.data.checks.finding import Finding
from fewtune.data.checks.material import Material
from fewtune.data.checks.runner import check
from fewtune.data.task import Task
from fewtune.types import Example

MakeExamples = Callable[[list[tuple[str, str]]], tuple[Example, ...]]
Found = Callable[..., dict[str, Finding]]


def test_fewer_than_a_hundred_rows_are_noted(examples: MakeExamples) -> None:
    rows = examples([(f"{row}{row}{row}", f"{row}") for row in range(100)])
    few, enough = (check(Material(examples=some, task=Task(kind="text"))) for some in (rows[:99], rows))
    assert [finding.code for finding in few] == ["few_rows"]
    assert enough == ()


def test_tokens_are_counted_only_where_the_bytes_leave_a_doubt(examples: MakeExamples, found: Found) -> None:
    rows = examples([("four", "five"), ("éé", "ééé"), ("x" * 30, "y"), ("é" * 8, "z" * 5), ("w" * 15, "v")])
    counted: list[int] = []

    def tokens(example: Example) -> int:
        counted.append(example.row)
        return len(example.prompt)

    finding = found(rows, context=20, context_bytes=20, tokens=tokens)["too_long"]
    assert counted == [2, 3]
    assert (finding.rows, finding.severity, finding.repair) == ((2,), "error", "drop")
    assert "more than the 20 tokens that the base reads; the longest has 30" in finding.sentence


def test_very_long_rows_are_noted_where_nobody_can_count_tokens(examples: MakeExamples, found: Found) -> None:
    rows = examples([("a", "b" * 10_000), ("a", "b " * 4_000)])
    assert found(rows)["over_long"].rows == (0,)
    assert "over_long" not in found(rows, context=10**6, context_bytes=10**6, tokens=len)
    assert "too_long" not in found(rows)
