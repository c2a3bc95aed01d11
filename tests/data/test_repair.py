from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from fewtune.data.check import CHECKS, check
from fewtune.data.repair import repair
from fewtune.data.task import Task, recognise
from fewtune.types import Example

MakeExamples = Callable[[list[tuple[str, str]]], tuple[Example, ...]]

ROUGH = st.sampled_from(["", " ", "a", " a", "A", "b c", "B  C", "TBD", "...", "{}", '{"a": 1', "coming soon!"])
CODES = st.sets(st.sampled_from([function.__name__ for function in CHECKS]))
TASKS = st.sampled_from([Task(kind="text"), Task(kind="labels"), Task(kind="json")])


def test_rows_are_dropped_stripped_and_relabelled_and_every_change_is_kept(examples: MakeExamples) -> None:
    rows = examples([("p", " yes"), ("q", "Yes"), ("r", ""), ("s", "yes"), ("s ", "yes"), ("t", "yes")])
    repaired = repair(rows, check(rows, Task(kind="labels")))
    assert [(example.row, example.prompt, example.completion) for example in repaired.examples] == [
        (0, "p", "yes"),
        (1, "q", "yes"),
        (3, "s", "yes"),
        (5, "t", "yes"),
    ]
    assert repaired.dropped == {"empty_completion": 1, "duplicate_row": 1}
    assert [(change.code, change.row, change.after is None) for change in repaired.changes] == [
        ("empty_completion", 2, True),
        ("duplicate_row", 4, True),
        ("stray_whitespace", 0, False),
        ("label_variant", 1, False),
    ]
    assert all(change.source == change.before.source for change in repaired.changes)


def test_a_refused_repair_leaves_its_rows_as_they_were(examples: MakeExamples) -> None:
    rows = examples([("a ", "b"), ("c", "TBD")])
    findings = check(rows, Task(kind="text"))
    everything = [finding.code for finding in findings]
    assert repair(rows, findings, refused=everything).examples == rows
    assert repair(rows, findings, refused={"placeholder_completion"}).dropped == {}


@settings(deadline=None)
@given(pairs=st.lists(st.tuples(ROUGH, ROUGH), max_size=12), task=TASKS, refused=CODES)
def test_every_row_is_kept_or_counted_once(
    examples: MakeExamples, pairs: list[tuple[str, str]], task: Task, refused: set[str]
) -> None:
    rows = examples(pairs)
    repaired = repair(rows, check(rows, task), refused)
    gone = [change.row for change in repaired.changes if change.after is None]
    assert sorted([*gone, *(example.row for example in repaired.examples)]) == [example.row for example in rows]
    assert len(rows) == len(repaired.examples) + sum(repaired.dropped.values())
    assert not refused & {change.code for change in repaired.changes}
    assert all(change.before != change.after for change in repaired.changes)


@settings(deadline=None)
@given(pairs=st.lists(st.tuples(ROUGH, ROUGH), max_size=12))
def test_repaired_rows_need_none_of_the_repairs_that_were_made(
    examples: MakeExamples, pairs: list[tuple[str, str]]
) -> None:
    rows = examples(pairs)
    task = recognise(rows)
    kept = repair(rows, check(rows, task)).examples
    again = {finding.code for finding in check(kept, task)}
    assert not again & {"empty_prompt", "empty_completion", "invalid_json", "stray_whitespace", "label_variant"}
