"""What all prompts, or all answers, have in common."""

from __future__ import annotations

from collections.abc import Sequence

from fewtune.data.checks.finding import Finding, in_rows, of_the_whole, quoted
from fewtune.data.checks.material import Material

_CAPITALS = 20
_FEWEST_TEXTS = 10
_LONG_PROMPT_PREFIX = 13
_LONG_ANSWER_PREFIX = 5


def upper_case(rows: Material) -> Finding | None:
    """Texts of at least 20 letters without a small one. They are left: which capitals are meant, nobody can tell."""
    what = "the prompt or the answer is in capitals throughout, which a base knows less well."
    return in_rows("upper_case", "note", rows.rows_where(_is_in_capitals), what)


def _is_in_capitals(text: str) -> bool:
    return text.isupper() and sum(map(str.isupper, text)) >= _CAPITALS


def same_prompt(rows: Material) -> Finding | None:
    prompts = {rows.prompts[place] for place in rows.answered}
    if len(prompts) != 1 or len(rows.answered) < _FEWEST_TEXTS:
        return None
    if rows.is_promptless:
        return of_the_whole("same_prompt", "note", "No row has a prompt: the answers are learnt as they come.")
    shown = quoted(prompts.pop())
    sentence = f"All prompts are the same ({shown}): nothing in them tells which answer is wanted."
    return of_the_whole("same_prompt", "warning", sentence)


def common_prompt_prefix(rows: Material) -> Finding | None:
    prefix = _prefix([rows.prompts[place] for place in rows.answered])
    if len(prefix) < _LONG_PROMPT_PREFIX:
        return None
    sentence = f"All prompts begin with {quoted(prefix)}: a tuned model needs no instruction, and each costs tokens."
    return of_the_whole("common_prompt_prefix", "note", sentence)


def common_completion_prefix(rows: Material) -> Finding | None:
    """JSON begins alike by its nature."""
    prefix = "" if rows.task.kind == "json" else _prefix([rows.answers[place] for place in rows.meant])
    if len(prefix) < _LONG_ANSWER_PREFIX:
        return None
    sentence = f"All answers begin with {quoted(prefix)}: it says nothing, and is learnt and paid for in each."
    return of_the_whole("common_completion_prefix", "note", sentence)


def _prefix(texts: Sequence[str]) -> str:
    """What all of ten texts or more begin with, where they are not all the same."""
    if len(texts) < _FEWEST_TEXTS or (first := min(texts)) == (last := max(texts)):
        return ""
    return first[: next((place for place, letter in enumerate(first) if letter != last[place]), len(first))]
