"""Turns that are missing or out of order in conversations."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import dropwhile, pairwise
from typing import Any, cast

from fewtune.data.checks.finding import Finding, in_rows
from fewtune.data.checks.material import Material
from fewtune.types import Message

_Turns = Sequence[Message]
_INSTRUCTIONS = ("system", "developer")
_ANSWERS_OF_TOOLS = ("tool", "function")


def no_trained_turn(rows: Material) -> Finding | None:
    found = _where(rows, lambda turns: not any(turn.trained for turn in turns))
    return in_rows("no_trained_turn", "error", found, "no turn of the assistant's is to be learnt.", repair="drop")


def no_system_message(rows: Material) -> Finding | None:
    """Where other conversations have one: the tuned model is then sometimes asked as it never was in training."""
    found = _where(rows, lambda turns: not any(turn.role in _INSTRUCTIONS for turn in turns))
    if len(found) == len(rows.conversations):
        return None
    return in_rows("no_system_message", "note", found, "there is no system message, as other conversations have.")


def no_user_message(rows: Material) -> Finding | None:
    found = _where(rows, lambda turns: not any(turn.role == "user" for turn in turns))
    return in_rows("no_user_message", "note", found, "the user says nothing.")


def last_turn_not_assistant(rows: Material) -> Finding | None:
    found = _where(rows, lambda turns: not turns or turns[-1].role != "assistant")
    what = "the last turn is not the assistant's; nothing is learnt from what follows its last one."
    return in_rows("last_turn_not_assistant", "note", found, what)


def unanswered_call(rows: Material) -> Finding | None:
    found = _where(rows, _has_unanswered_call)
    what = "the assistant calls a tool and goes on without its answer."
    return in_rows("unanswered_call", "warning", found, what)


def role_order(rows: Material) -> Finding | None:
    found = _where(rows, _is_out_of_order)
    what = "the turns are in an unusual order, such as two of the user's in a row or a late system message."
    return in_rows("role_order", "note", found, what)


def _where(rows: Material, holds: Callable[[_Turns], bool]) -> list[int]:
    return [example.row for example in rows.conversations if holds(example.messages or ())]


def _has_unanswered_call(turns: _Turns) -> bool:
    """Calls in the last turn are what is to be learnt; nothing has to follow them."""
    answered = {turn.call_id for turn in turns if turn.role in _ANSWERS_OF_TOOLS}
    for turn, following in pairwise(turns):
        if not turn.calls:
            continue
        ids = _ids(turn.calls)
        if any(one not in answered for one in ids if one) or following.role not in _ANSWERS_OF_TOOLS:
            return True
    return False


def _ids(calls: str) -> list[str | None]:
    return [call.get("id") for call in cast(list[dict[str, Any]], json.loads(calls))]


def _is_out_of_order(turns: _Turns) -> bool:
    """Instructions come first, then the user, and nobody but a tool speaks twice in a row."""
    talk = list(dropwhile(lambda turn: turn.role in _INSTRUCTIONS, turns))
    is_late = any(turn.role in _INSTRUCTIONS for turn in talk)
    starts_oddly = bool(talk) and talk[0].role != "user"
    return is_late or starts_oddly or any(_is_odd(one, other) for one, other in pairwise(talk))


def _is_odd(turn: Message, following: Message) -> bool:
    if following.role in _ANSWERS_OF_TOOLS:
        return turn.role == "user"
    return turn.role == following.role
