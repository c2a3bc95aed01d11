from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewtune.data.checks.finding import Finding
from fewtune.data.checks.material import Material
from fewtune.data.checks.runner import CHECKS, check
from fewtune.data.conversation import plain
from fewtune.data.masking import masked
from fewtune.data.repair import repair
from fewtune.data.task import Task, recognise
from fewtune.data.texts import everything
from fewtune.types import Example, Message, Role, Source

MakeExamples = Callable[[list[tuple[str, str]]], tuple[Example, ...]]

TEXT, LABELS, JSON = Task(kind="text"), Task(kind="labels"), Task(kind="json")
ROUGH = st.sampled_from(
    [
        "", " ", "a", " a", "A", "b c", "B  C", "TBD", "...", "{}", '{"a": 1', "coming soon!", "x &amp; y", "cafÃ©",
        "me@example.org", '{"card": 4111111111111111}', '["&quot;"]', "4111 1111 1111 1111", "\ufffd", "<b>c</b>",
    ]
)  # fmt: skip
CODES = st.sets(st.sampled_from([function.__name__ for function in CHECKS]))
TASKS = st.sampled_from([TEXT, LABELS, JSON])


def turn(role: Role, content: str, trained: bool) -> Message:
    return Message(role=role, content=content, trained=trained and role == "assistant")


ROLES: st.SearchStrategy[Role] = st.sampled_from(["system", "user", "assistant"])
TURNS = st.builds(turn, ROLES, ROUGH, st.booleans())


def findings(rows: Sequence[Example], task: Task) -> tuple[Finding, ...]:
    return check(Material(examples=rows, task=task))


def chat(row: int, turns: Sequence[Message]) -> Example:
    prompt, completion = plain(turns)
    source = Source(file="rows.jsonl", line=row + 1)
    return Example(row=row, prompt=prompt, completion=completion, source=source, messages=tuple(turns))


def test_rows_are_dropped_stripped_and_relabelled_and_every_change_is_kept(examples: MakeExamples) -> None:
    rows = examples([("p", " yes"), ("q", "Yes"), ("r", ""), ("s", "yes"), ("s ", "yes"), ("t", "yes")])
    repaired = repair(rows, findings(rows, LABELS))
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
    found = findings(rows, TEXT)
    everything = [finding.code for finding in found]
    assert repair(rows, found, refused=everything).examples == rows
    assert repair(rows, found, refused={"placeholder_completion"}).dropped == {}


def test_what_is_not_recommended_is_done_only_when_accepted(examples: MakeExamples) -> None:
    rows = examples([("Write to ann@example.org", "Done."), ("Pay with 4111 1111 1111 1111", "Paid.")])
    found = findings(rows, TEXT)
    assert [one.prompt for one in repair(rows, found).examples] == ["Write to ann@example.org", "Pay with [card]"]
    accepted = repair(rows, found, accepted={"email_address"}).examples
    assert [one.prompt for one in accepted] == ["Write to [email]", "Pay with [card]"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("salt &amp;amp; pepper&nbsp;&#33;", "salt & pepper !"),
        ("cafÃ© &lt;3", "café <3"),
        ('{"said": "a &quot;b&quot; &amp; c"}', '{"said": "a &quot;b&quot; &amp; c"}'),
        ("AT&T; see ?a=1&copy=2", "AT&T; see ?a=1&copy=2"),
    ],
)
def test_entities_and_misread_characters_are_put_right(examples: MakeExamples, before: str, after: str) -> None:
    rows = examples([("a", before), ("b", "plain"), ("c", "clean")])
    assert repair(rows, findings(rows, TEXT)).examples[0].completion == after


def test_json_stays_json_when_a_number_in_it_is_masked(examples: MakeExamples) -> None:
    rows = examples([("a", '{"card": 4111111111111111, "to": [1.50, "x"]}'), ("b", "{}"), ("c", '{"d": 1}')])
    after = repair(rows, findings(rows, JSON)).examples[0].completion
    assert json.loads(after) == {"card": "[card]", "to": [1.5, "x"]}


def test_a_conversation_is_repaired_in_its_turns_and_prompt_and_answer_follow() -> None:
    key = "sk-abcDEF1234567890abcdefgh"
    calls = f'[{{"id": "c1", "function": {{"arguments": "{{\\"key\\": \\"{key}\\"}}"}}}}]'
    turns = (
        Message(role="user", content=f" Use {key} &amp; go "),
        Message(role="assistant", content="", calls=calls, trained=True),
        Message(role="tool", content="cafÃ©", call_id="c1"),
        Message(role="assistant", content="The cafÃ© is open.", trained=True),
    )
    others = ((Message(role="user", content=word), Message(role="assistant", content="b")) for word in ("a", "c"))
    rows = tuple(chat(row, said) for row, said in enumerate((turns, *others)))
    after = repair(rows, findings(rows, TEXT)).examples[0]
    assert after.messages is not None
    assert [turn.content for turn in after.messages] == ["Use [key] & go", "", "café", "The café is open."]
    assert json.loads(after.messages[1].calls or "") == [{"id": "c1", "function": {"arguments": '{"key": "[key]"}'}}]
    assert (after.prompt, after.completion) == plain(after.messages)


def test_a_label_in_a_conversation_is_relabelled_in_its_last_trained_turn() -> None:
    rows = tuple(
        chat(row, (Message(role="user", content=f"{row} x"), Message(role="assistant", content=label, trained=True)))
        for row, label in enumerate(["yes", "yes", "Yes"])
    )
    after = repair(rows, findings(rows, LABELS)).examples[2]
    assert after.messages is not None
    assert (after.completion, after.messages[-1].content) == ("yes", "yes")


@settings(deadline=None)
@given(pairs=st.lists(st.tuples(ROUGH, ROUGH), max_size=12), task=TASKS, refused=CODES, accepted=CODES)
def test_every_row_is_kept_or_counted_once(
    examples: MakeExamples, pairs: list[tuple[str, str]], task: Task, refused: set[str], accepted: set[str]
) -> None:
    rows = examples(pairs)
    repaired = repair(rows, findings(rows, task), refused, accepted=accepted)
    gone = [change.row for change in repaired.changes if change.after is None]
    assert sorted([*gone, *(example.row for example in repaired.examples)]) == [example.row for example in rows]
    assert len(rows) == len(repaired.examples) + sum(repaired.dropped.values())
    assert not refused & {change.code for change in repaired.changes}
    assert all(change.before != change.after for change in repaired.changes)


@settings(deadline=None)
@given(rows=st.lists(st.lists(TURNS, min_size=1, max_size=4), max_size=8), task=TASKS, accepted=CODES)
def test_every_conversation_is_kept_whole_or_counted_once(
    rows: list[list[Message]], task: Task, accepted: set[str]
) -> None:
    given_rows = tuple(chat(row, turns) for row, turns in enumerate(rows))
    repaired = repair(given_rows, findings(given_rows, task), accepted=accepted)
    assert len(rows) == len(repaired.examples) + sum(repaired.dropped.values())
    for example in repaired.examples:
        assert example.messages is not None
        assert (example.prompt, example.completion) == plain(example.messages)
        assert len(example.messages) == len(rows[example.row])


@settings(deadline=None)
@given(pairs=st.lists(st.tuples(ROUGH, ROUGH), max_size=12))
def test_repaired_rows_need_none_of_the_repairs_that_were_made(
    examples: MakeExamples, pairs: list[tuple[str, str]]
) -> None:
    rows = examples(pairs)
    task = recognise(rows)
    kept = repair(rows, findings(rows, task), accepted={"email_address"}).examples
    again = {finding.code for finding in findings(kept, task) if finding.recommended}
    assert again <= {"placeholder_completion", "duplicate_row", "html_entity"}
    assert all(masked(text) == text for example in kept for text in everything(example))
