"""What web and worker say to each other: one JSON object a line, read strictly and bounded."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError

from fewtune.providers.contract import BASE, Answer, Chunk, Request, Score, TokenChoice

LONGEST_LINE = 2**20
"""Bytes, the line's end included."""
_LARGEST_ID = 2**53

_REQUEST_FIELDS = frozenset(field.name for field in fields(Request)) - {"id", "model"}


class BadLine(ValueError):
    """A line that is none of these; the message holds nothing of what stood in it."""

    def __init__(self, text: str, ask: int | None = None) -> None:
        super().__init__(text)
        self.ask = ask
        """The question that it was, where that much could be read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """Whom a question is for."""

    name: str = BASE
    """A tuned model's name, or `base`."""
    base: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """A question; its id is the connection's own."""

    id: int
    model: Model
    request: Request
    """With the question's id, and the model's name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Withdraw:
    """Nobody waits for the answer any more."""

    id: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Wake:
    """A job was made or changed: look at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AskStatus:
    id: int


Incoming = Ask | Withdraw | Wake | AskStatus


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """What a worker is doing."""

    id: int
    training: tuple[str, ...]
    """Ids of the jobs that it has claimed."""
    writing: int
    """Answers on their way."""
    waiting: int
    bases: tuple[str, ...]
    """Those that are loaded."""
    pid: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Refused:
    """The end of a question that got no answer."""

    id: int
    code: str
    """One of `RefusalCode`, or `busy`, `bad_request`, `server_error`."""
    text: str


def parse(line: bytes) -> Incoming:
    """Raises BadLine for what is no message of the web's."""
    value = _object(line)
    kinds = [name for name in ("ask", "withdraw", "wake", "status") if name in value]
    if len(kinds) != 1:
        raise BadLine("A message is one of ask, withdraw, wake, status.")
    if kinds[0] == "wake":
        _only(value, {"wake"})
        if value["wake"] is not True:
            raise BadLine("The value of wake is true.")
        return Wake()
    number = _number(value[kinds[0]])
    if kinds[0] == "ask":
        return _ask(number, value)
    _only(value, {kinds[0]})
    return Withdraw(id=number) if kinds[0] == "withdraw" else AskStatus(id=number)


def ask_line(ask: Ask) -> bytes:
    """Only what differs from the defaults is written."""
    bare = Request(id=ask.id, prompt="", model=ask.model.name)
    told = {
        name: _plain(getattr(ask.request, name))
        for name in sorted(_REQUEST_FIELDS)
        if name == "prompt" or getattr(ask.request, name) != getattr(bare, name)
    }
    return line_of({"ask": ask.id, "model": {"name": ask.model.name, "base": ask.model.base}, "request": told})


def pieces_line(pieces: Sequence[Chunk]) -> bytes:
    """All that one decoding step wrote."""
    told = [[one.id, one.text, *([[_choice(c) for c in one.choices]] if one.choices else [])] for one in pieces]
    return line_of({"pieces": told})


def answer_line(answer: Answer) -> bytes:
    """Without its choices: the pieces have told them."""
    told = {
        "id": answer.id,
        "text": answer.text,
        "tokens": answer.tokens,
        "prompt_tokens": answer.prompt_tokens,
        "stop_reason": answer.stop_reason,
        "seconds": answer.seconds,
    }
    return line_of({"answers": [told]})


def score_line(score: Score) -> bytes:
    told = {"id": score.id, "log_likelihoods": score.log_likelihoods, "greedy": score.greedy}
    return line_of({"scores": [told]})


def refusal_line(refused: Refused) -> bytes:
    return line_of({"refusals": [{"id": refused.id, "code": refused.code, "text": refused.text}]})


def error_line(text: str) -> bytes:
    """For a line that could not be told to be anything."""
    return line_of({"error": text})


def status_line(status: Status) -> bytes:
    told = {name: getattr(status, name) for name in ("training", "writing", "waiting", "bases", "pid")}
    return line_of({"status": status.id, **told})


def line_of(value: Mapping[str, Any]) -> bytes:
    """Half a character, which UTF-8 cannot hold, is written as JSON escapes it."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    try:
        return text.encode() + b"\n"
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def _ask(number: int, value: dict[str, Any]) -> Ask:
    try:
        _only(value, {"ask", "model", "request"})
        model, request = _mapping(value.get("model")), _mapping(value.get("request"))
        _only(model, {"name", "base"})
        _only(request, _REQUEST_FIELDS)
        name, base = model.get("name", BASE), model.get("base")
        if not isinstance(name, str) or not isinstance(base, str):
            raise BadLine("A model has a name and a base.")
        read = _adapter().validate_json(json.dumps({**request, "id": number, "model": name}), strict=True)
    except BadLine as error:
        raise BadLine(str(error), number) from None
    except ValidationError as error:
        # Not its own words, which hold what was given.
        place = ".".join(map(str, error.errors(include_input=False, include_url=False)[0]["loc"]))
        raise BadLine(f"The request's {place} cannot be read.", number) from None
    return Ask(id=number, model=Model(name=name, base=base), request=read)


@cache
def _adapter() -> TypeAdapter[Request]:
    return TypeAdapter(Request)


def _object(line: bytes) -> dict[str, Any]:
    if len(line) > LONGEST_LINE:
        raise BadLine("The line is too long.")
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        raise BadLine("The line is no JSON.") from None
    return _mapping(value)


def _mapping(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadLine("An object is missing.")
    return cast(dict[str, Any], value)


def _only(value: Mapping[str, Any], known: set[str] | frozenset[str]) -> None:
    if not known.issuperset(value):
        raise BadLine("There is a key that is not known.")


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _LARGEST_ID:
        raise BadLine("An id is a whole number.")
    return value


def _choice(choice: TokenChoice) -> list[Any]:
    return [choice.text, choice.log_likelihood, [list(one) for one in choice.alternatives]]


def _plain(value: Any) -> Any:
    """As JSON has it; turns become objects."""
    if isinstance(value, tuple):
        return [_plain(one) for one in cast(tuple[Any, ...], value)]
    if hasattr(value, "__dataclass_fields__"):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    return value
