"""Answers that are missing, stand in for one, or stop too early."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from fewtune.data.checks.finding import Finding, in_rows, quoted, some
from fewtune.data.checks.material import Material
from fewtune.data.task import is_json, parses_as_json
from fewtune.data.truncation import cut_off
from fewtune.types import Example

_REPEATED_WORDS = 3
_REPEATED_CHARACTERS = 60
_REPEATED_ROWS = 5
_REPEATED_SHARE = 0.002

_SHARE_OF_JSON = 0.5


def empty_prompt(rows: Material) -> Finding | None:
    """Where no row at all has a prompt, the answers are meant to be learnt without."""
    if rows.is_promptless:
        return None
    blank = [place for place, prompt in enumerate(rows.prompts) if not prompt]
    return in_rows("empty_prompt", "error", rows.rows_at(blank), "there is no prompt.", repair="drop")


def empty_completion(rows: Material) -> Finding | None:
    blank = [place for place, answer in enumerate(rows.answers) if not answer and _is_trained(rows.examples[place])]
    return in_rows("empty_completion", "error", rows.rows_at(blank), "there is no answer.", repair="drop")


def _is_trained(example: Example) -> bool:
    """A conversation of which no turn is trained is told by `no_trained_turn`."""
    return example.messages is None or any(message.trained for message in example.messages)


def placeholder_completion(rows: Material) -> Finding | None:
    held = rows.placeholders
    answers = some(dict.fromkeys(quoted(rows.answers[place]) for place in held))
    what = f"the answer only holds the place of one ({answers})."
    return in_rows("placeholder_completion", "warning", rows.rows_at(held), what, repair="drop")


def repeated_answer(rows: Material) -> Finding | None:
    """The same short sentence for prompts that have nothing to do with each other."""
    if rows.task.kind != "text":
        return None
    places: defaultdict[str, list[int]] = defaultdict(list)
    for place in rows.meant:
        answer = rows.answers[place]
        if len(answer) <= _REPEATED_CHARACTERS and answer.count(" ") >= _REPEATED_WORDS - 1:
            places[" ".join(answer.split()).casefold()].append(place)
    fewest = max(_REPEATED_ROWS, _REPEATED_SHARE * len(rows.examples))
    held = [found for found in places.values() if len(found) >= fewest]
    often = [found for found in held if len({rows.clusters[place] for place in found}) >= fewest]
    answers = some(quoted(rows.answers[found[0]]) for found in often)
    what = f"the same short answer stands for unrelated prompts ({answers})."
    numbers = rows.rows_at([place for found in often for place in found])
    return in_rows("repeated_answer", "warning", numbers, what, repair="drop", recommended=False)


def invalid_json(rows: Material) -> Finding | None:
    """Where most answers are JSON; the repair is only recommended where nearly all are, and the task is known."""
    if rows.task.kind == "labels":
        return None
    if rows.task.kind == "text" and not _are_json([rows.answers[place] for place in rows.meant]):
        return None
    broken = [place for place in rows.meant if not parses_as_json(rows.answers[place])]
    what = "the answer is not valid JSON, as the others are."
    is_sure = rows.task.kind == "json"
    return in_rows("invalid_json", "warning", rows.rows_at(broken), what, repair="drop", recommended=is_sure)


def _are_json(answers: Sequence[str]) -> bool:
    return sum(map(is_json, answers)) > _SHARE_OF_JSON * len(answers)


def truncated_answer(rows: Material) -> Finding | None:
    if rows.task.kind != "text":
        return None
    cut = [rows.meant[place] for place in cut_off([rows.answers[place] for place in rows.meant])]
    what = "the answer seems to be cut off: it stops within a word or a sentence, as nearly no other does."
    return in_rows("truncated_answer", "warning", rows.rows_at(cut), what, repair="drop", recommended=False)
