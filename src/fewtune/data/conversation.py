"""Turns of a chat: OpenAI's `messages` validated and read, and put into plain text for bases that know no turns.

An invalid conversation is an error that names the row and the turn. A conversation in which nothing is to be
learnt is none: it becomes a row without an answer, which the checks find and show.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, cast, get_args

from rapidfuzz import fuzz, process

from fewtune.data.columns import listed, nearest
from fewtune.errors import DataError
from fewtune.types import Message, Role

ROLES: tuple[Role, ...] = get_args(Role)
KEYS = ("role", "content", "name", "weight", "tool_calls", "tool_call_id", "function_call", "refusal")
"""What a turn may hold; anything else is left out and counted."""

_TEXT_PARTS = {"text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal"}
_OTHER_NAMES = {"human": "user", "customer": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant"}
_SURELY_MISSPELT = 80
"""Of 100, in rapidfuzz's ratio; less is a key of some program's own, not a slip."""
_MUST_BE_TURNS = 'Write a list of turns: [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}].'


def plain(messages: Sequence[Message]) -> tuple[str, str]:
    """Prompt and completion for all that knows no turns.

    The completion is what the last trained turn says: its content, or its calls as JSON where there is no content;
    empty where no turn is trained. The prompt is the turns before it (all turns, where none is trained):

    - one user turn: its text;
    - a system or developer turn and a user turn: both texts, a blank line between them;
    - anything else: each turn begins a line of its own with its role, as in `User: ...` and `Assistant: ...`. It
      ends with the turn before the answer: where the answer begins is the frame's affair.
    """
    last = max((place for place, message in enumerate(messages) if message.trained), default=None)
    before = messages if last is None else messages[:last]
    completion = "" if last is None else said(messages[last])
    roles = [message.role for message in before]
    if len(roles) == 1 and roles[0] != "assistant":
        return said(before[0]), completion
    if len(roles) == 2 and roles[0] in ("system", "developer") and roles[1] == "user":
        return f"{said(before[0])}\n\n{said(before[1])}", completion
    return "\n".join(f"{message.role.capitalize()}: {said(message)}" for message in before), completion


def said(message: Message) -> str:
    """A turn's content, or its calls as JSON where there is no content."""
    return message.content or message.calls or ""


def parse_messages(value: object, where: str, left_out: Counter[str]) -> tuple[Message, ...]:
    """OpenAI's `messages`, validated. A key whose value is null counts as not there, as Parquet writes it.

    Every assistant turn is trained unless its `weight` is 0. Keys that are not OpenAI's are left out and counted in
    `left_out`. Raises DataError, at `where`, for what is no conversation.
    """
    if not isinstance(value, list) or not value:
        what = "The conversation has no turns." if value in (None, []) else "The conversation is not a list of turns."
        raise DataError(what, where=where, fix=_MUST_BE_TURNS)
    turns = cast(list[object], value)
    messages = tuple(_Turn(turn, number, where).message(left_out) for number, turn in enumerate(turns, 1))
    _check_answered_calls(messages, where)
    return messages


def parse_tools(tools: object, functions: object, where: str) -> str | None:
    """JSON text of the tools that a conversation may call; `functions` is the older way to write them."""
    if functions and not tools:
        tools = [{"type": "function", "function": function} for function in cast(list[object], _list(functions, where))]
    return json_text(_list(tools, where), where) if tools else None


def json_text(value: object, where: str) -> str:
    """The value as JSON; raises DataError where it is too deep or too large for that."""
    try:
        return json.dumps(value, ensure_ascii=False)
    except (RecursionError, ValueError) as error:
        fix = "Write what is needed of it as text."
        raise DataError("A value is nested too deep, or has too many digits.", where=where, fix=fix) from error


def _list(value: object, where: str) -> object:
    if isinstance(value, list):
        return cast(object, value)
    raise DataError("The tools are not a list.", where=where, fix="Write them as OpenAI does, or leave them out.")


class _Turn:
    """One turn as it was written, and where it stands."""

    def __init__(self, turn: object, number: int, where: str) -> None:
        self._number = number
        self._where = where
        if not isinstance(turn, dict):
            self._refuse("is not an object", _MUST_BE_TURNS)
        written = cast(dict[str, Any], turn)
        self._written: Mapping[str, Any] = {key: value for key, value in written.items() if value is not None}

    def message(self, left_out: Counter[str]) -> Message:
        self._leave_out_unknown_keys(left_out)
        role = self._role()
        calls = self._calls(role)
        return Message(
            role=role,
            content=self._content(role, called=calls is not None),
            name=self._text("name"),
            trained=self._weight(role) != 0 and role == "assistant",
            calls=calls,
            call_id=self._text("tool_call_id"),
        )

    def _refuse(self, what: str, fix: str) -> NoReturn:
        raise DataError(f"Turn {self._number} of the conversation {what}.", where=self._where, fix=fix)

    def _leave_out_unknown_keys(self, left_out: Counter[str]) -> None:
        for key in [key for key in self._written if key not in KEYS]:
            absent = [known for known in KEYS if known not in self._written]
            found = process.extractOne(key, absent, scorer=fuzz.ratio, score_cutoff=_SURELY_MISSPELT)
            if found:
                self._refuse(f"has the unknown key {_short(key)}", f"Did you mean {found[0]!r}?")
            if key == "audio":
                self._refuse("is spoken", "Only text can be learnt: leave the conversation out, or write it down.")
            left_out[f"the key {_short(key)} of turns"] += 1

    def _role(self) -> Role:
        role = self._written.get("role")
        if role in ROLES:
            return role
        if role is None:
            self._refuse("has no role", f"Give each turn one of the roles {listed(ROLES)}.")
        other = _OTHER_NAMES.get(str(role).casefold())
        meant = f"Did you mean {other!r}? " if other else nearest(str(role), ROLES)
        self._refuse(f"has the unknown role {_short(role)}", f"{meant}Roles are {listed(ROLES)}.")

    def _text(self, key: str) -> str | None:
        value = self._written.get(key)
        if value is None or isinstance(value, str):
            return value
        self._refuse(f"has a {key} that is not text", f"Write {key} as text, or leave it out.")

    def _weight(self, role: Role) -> float:
        weight = self._written.get("weight", 1)
        if "weight" in self._written and role != "assistant":
            self._refuse(f"has a weight, but the role {role!r}", "Only turns of the assistant have a weight.")
        if isinstance(weight, bool) or weight not in (0, 1):
            self._refuse(
                f"has the weight {_short(weight)}", "Write 1 for a turn to be learnt and 0 for one that is not."
            )
        return weight

    def _content(self, role: Role, *, called: bool) -> str:
        content = self._written.get("content")
        if content is None:
            content = self._text("refusal") if role == "assistant" else None
        if content is None:
            if called:
                return ""
            self._refuse("has no content", 'Give it a text in "content".')
        if isinstance(content, str):
            return content
        if not isinstance(content, list):
            self._refuse("has a content that is not text", 'Give it a text in "content".')
        return "".join(self._part(part) for part in cast(list[object], content))

    def _part(self, part: object) -> str:
        if isinstance(part, str):
            return part
        if not isinstance(part, dict):
            self._refuse("has a part that is neither text nor an object", 'Write {"type": "text", "text": "..."}.')
        fields = cast(dict[str, Any], part)
        kind = str(fields.get("type"))
        text = fields.get(_TEXT_PARTS.get(kind, ""))
        if isinstance(text, str):
            return text
        if kind in _TEXT_PARTS:
            self._refuse("has a part without its text", 'Write {"type": "text", "text": "..."}.')
        fix = "Only text can be learnt: leave the conversation out, or put words in place of it."
        self._refuse(f"has a part of the kind {_short(kind)}", fix)

    def _calls(self, role: Role) -> str | None:
        calls = self._written.get("tool_calls")
        call = self._written.get("function_call")
        if call is not None:
            if calls:
                self._refuse("has both tool_calls and a function_call", "Keep the tool_calls.")
            calls = [{"type": "function", "function": call}]
        if calls is None or calls == []:
            return None
        if role != "assistant":
            self._refuse(f"calls tools, but has the role {role!r}", "Only the assistant calls tools.")
        if not isinstance(calls, list):
            self._refuse("has tool_calls that are not a list", "Write a list of calls.")
        return json_text([self._call(one) for one in cast(list[object], calls)], self._where)

    def _call(self, call: object) -> dict[str, Any]:
        """With `type` and the arguments as JSON text, as OpenAI writes them; other programs write them as an object."""
        fields = cast(dict[str, Any], call) if isinstance(call, dict) else {}
        function = fields.get("function")
        called = cast(dict[str, Any], function) if isinstance(function, dict) else {}
        name, arguments = called.get("name"), called.get("arguments")
        if not isinstance(name, str) or not name:
            self._refuse("calls a tool without a name", 'Write {"function": {"name": "...", "arguments": "{...}"}}.')
        if isinstance(arguments, dict) or arguments is None:
            arguments = json_text(cast(object, arguments) or {}, self._where)
        if not isinstance(arguments, str):
            self._refuse(f"calls {name!r} with arguments that are not text", "Write them as the text of a JSON object.")
        identity = {"id": str(fields["id"])} if fields.get("id") is not None else {}
        return {**identity, "type": "function", "function": {"name": name, "arguments": arguments}}


def _check_answered_calls(messages: Sequence[Message], where: str) -> None:
    """A tool's turn that names a call answers one that was made before."""
    made: set[str] = set()
    for number, message in enumerate(messages, 1):
        if message.calls:
            made |= {call["id"] for call in json.loads(message.calls) if "id" in call}
        if message.role == "tool" and message.call_id is not None and message.call_id not in made:
            what = f"Turn {number} of the conversation answers the call {message.call_id!r}, which nobody made."
            fix = "Let tool_call_id be the id of one of the tool_calls before it."
            raise DataError(what, where=where, fix=fix)


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 40 else f"{shown[:37]}..."
