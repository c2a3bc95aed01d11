"""A base's chat template: messages to the text that the base was trained to read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from jinja2 import Template, TemplateSyntaxError
from jinja2.exceptions import TemplateError

from fewtune.data.metering import meter_for, metered
from fewtune.data.sandbox import Refused, Sandbox, rendered
from fewtune.errors import ChatTemplateError, DataError
from fewtune.types import Message

WITHOUT_TEMPLATE = "Mend the template, or tune the base without it: --recipe completion."
_FALLBACKS = {"developer": "system", "function": "tool"}
"""Roles that few templates know, and those that stand for them."""


@dataclass(frozen=True, kw_only=True)
class ChatTemplate:
    """Made by `open_template`; a template is a program by strangers, and runs in a sandbox."""

    source: str
    names: Mapping[str, str]
    """The base's own tokens as templates call them, such as `bos_token`."""
    where: str
    template: Template

    def render(self, messages: Sequence[Mapping[str, Any]], tools: Any = None, *, asks: bool = False) -> str:
        """The text of the messages as `turn` makes them, and with `asks` the beginning of an answer after them.

        Raises DataError where the template itself does not take these messages, ChatTemplateError where it fails,
        reaches for what is not allowed, or does not end.
        """
        given = {
            **self.names,
            "messages": [dict(message) for message in messages],
            "tools": tools,
            "documents": None,
            "add_generation_prompt": asks,
        }
        try:
            return rendered(self.template, given, meter_for((given["messages"], tools)))
        except Refused as error:
            raise DataError(
                f"The base's chat template does not take this conversation: {error}",
                fix="Bring the turns into the order that the base knows.",
            ) from error
        except TemplateError as error:
            raise _unusable(str(error), self.where) from error


def open_template(source: str, names: Mapping[str, str], where: str) -> ChatTemplate:
    """Raises ChatTemplateError, which names `where`, for a template that is not allowed or not understood."""
    with metered(meter_for(())):
        try:
            template = Sandbox().compiled(source)
        except TemplateSyntaxError as error:
            raise _unusable(f"{error.message} (line {error.lineno})", where) from error
        except RecursionError as error:
            raise _unusable("it is nested too deeply", where) from error
        except Exception as error:  # Python's compiler has its own limits, and its own errors for them.
            raise _unusable(str(error), where) from error
    return ChatTemplate(source=source, names=dict(names), where=where, template=template)


def _unusable(why: str, where: str) -> ChatTemplateError:
    return ChatTemplateError(
        f"The base's chat template cannot be used: {why.rstrip('.')}.",
        where=where,
        fix=WITHOUT_TEMPLATE,
    )


def turn(message: Message, source: str) -> dict[str, Any]:
    """A message as the templates of this source text know it.

    What calls a tool has its arguments as an object. `developer` becomes `system`, and `function` becomes `tool`,
    where the source does not name them.
    """
    known = message.role if message.role in source else _FALLBACKS.get(message.role, message.role)
    found: dict[str, Any] = {"role": known, "content": message.content}
    if message.name is not None:
        found["name"] = message.name
    if message.calls is not None:
        found["tool_calls"] = [_call(call) for call in _list(message.calls, "tool calls")]
    if message.call_id is not None:
        found["tool_call_id"] = message.call_id
    return found


def tools_of(text: str | None) -> list[Any] | None:
    return None if text is None else _list(text, "tools")


def _list(text: str, what: str) -> list[Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"The {what} of a conversation are not JSON: {error}.") from error
    return cast(list[Any], found) if isinstance(found, list) else [found]


def _call(call: Any) -> Any:
    """Arguments are JSON text in OpenAI's form, and an object for the templates."""
    function = _mapping(_mapping(call).get("function"))
    try:
        arguments = json.loads(function["arguments"])
    except (KeyError, TypeError, ValueError, RecursionError):
        return call
    return {**_mapping(call), "function": {**function, "arguments": arguments}}


def _mapping(value: Any) -> dict[str, Any]:
    return cast(dict[str, Any], value) if isinstance(value, dict) else {}
