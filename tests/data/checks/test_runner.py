from __future__ import annotations

from collections.abc import Callable

from fewtune.data.checks.finding import Finding
from fewtune.data.checks.runner import CHECKS
from fewtune.types import Example

MakeExamples = Callable[[list[tuple[str, str]]], tuple[Example, ...]]
Found = Callable[..., dict[str, Finding]]


def test_no_rows_and_clean_rows_are_checked_without_complaint(examples: MakeExamples, found: Found) -> None:
    assert found(()) == {}
    assert found(examples([("What is the capital of Peru?", "Lima"), ("Who wrote Emma?", "Jane Austen")])) == {}


def test_findings_come_in_the_order_of_the_checks(examples: MakeExamples, found: Found) -> None:
    order = [function.__name__ for function in CHECKS]
    codes = list(found(examples([("", " a"), ("b", ""), ("c ", "TBD"), ("d", "me@example.org"), ("d", "e")])))
    assert codes == sorted(codes, key=order.index)
    assert len(set(order)) == len(order)
