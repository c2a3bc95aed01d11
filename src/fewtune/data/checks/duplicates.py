"""Rows that say what others say, or the contrary."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable

from fewtune.data.checks.finding import Finding, counted, in_rows
from fewtune.data.checks.material import Material
from fewtune.data.task import Task, label_key


def duplicate_row(rows: Material) -> Finding | None:
    what = "prompt and answer are those of a row before; the first is kept."
    return in_rows("duplicate_row", "warning", rows.rows_at(rows.again), what, repair="drop")


def conflicting_answers(rows: Material) -> Finding | None:
    """The same prompt with different answers: for labels and JSON one is wrong, in free text both may be meant."""
    if rows.is_promptless or (len(rows.same_prompts) == 1 and len(rows.same_prompts[0]) == len(rows.meant)):
        return None
    key = _answer_key(rows.task)
    torn = [same for same in rows.same_prompts if len({key(rows.answers[place]) for place in same}) > 1]
    numbers = rows.rows_at([place for same in torn for place in same])
    if rows.task.kind == "text":
        what = "the prompt is that of another row but the answer is not; each of them is learnt."
        return in_rows("conflicting_answers", "note", numbers, what)
    noun = "label" if rows.task.kind == "labels" else "answer"
    what = f"the prompt is that of another row but the {noun} is not; one of them is probably wrong."
    return in_rows("conflicting_answers", "warning", numbers, what)


def _answer_key(task: Task) -> Callable[[str], str]:
    match task.kind:
        case "labels":
            return label_key
        case "json":
            return _value
        case "text":
            return lambda answer: " ".join(answer.split())


def _value(answer: str) -> str:
    """JSON without the order of its keys and its spacing."""
    try:
        return json.dumps(json.loads(answer), sort_keys=True)
    except (ValueError, RecursionError):
        return answer


def near_duplicate(rows: Material) -> Finding | None:
    again = frozenset(rows.again)
    clusters: defaultdict[int, list[int]] = defaultdict(list)
    for place in rows.meant:
        if place not in again:
            clusters[rows.clusters[place]].append(place)
    alike = [places for places in clusters.values() if len(places) > 1]
    numbers = rows.rows_at([place for places in alike for place in places])
    groups = counted(len(alike), "group")
    what = f"the text is nearly that of another row ({groups} in all); a split keeps such rows together."
    return in_rows("near_duplicate", "note", numbers, what)
