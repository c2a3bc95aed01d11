"""Conversations as token ids of a chat model, with the turns that are trained marked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from tokenizers import Tokenizer

from fewtune.data.chat_template import WITHOUT_TEMPLATE, ChatTemplate, tools_of, turn
from fewtune.data.special_tokens import SpecialTokens
from fewtune.errors import ChatTemplateError, DataError
from fewtune.types import Example, Message

_ASKED, _ANSWERED = "Hello", "Understood"
"""A conversation that every template takes, to learn from it how an answer begins and ends."""


@dataclass(frozen=True, kw_only=True)
class Turns:
    """A conversation as token ids, and which of them are trained, as half-open stretches; there is at least one."""

    ids: tuple[int, ...]
    trained: tuple[tuple[int, int], ...]
    left_out: int
    """Turns that should be trained and are not, since the template writes them otherwise once others follow."""


@dataclass(frozen=True, kw_only=True)
class Chat:
    """A chat model's template and special tokens; made by `open_chat`."""

    template: ChatTemplate
    special: SpecialTokens
    end_id: int
    """The stop of the last turn where the template ends turns with no token of its own."""
    stop: str | None = None
    """The template's own token at the end of a turn."""
    lead: str = ""
    """What the template writes before an answer, where the answer of a model begins as well."""

    @property
    def stop_id(self) -> int:
        return self.end_id if self.stop is None else self.special.ids[self.stop]

    def prompt(self, messages: Sequence[Message], tools: str | None = None) -> tuple[int, ...]:
        """Ids of the messages and of the beginning of an answer; nothing that they spell is a special token."""
        laid, _ = self.special.laid([self._seen(messages, tools).text(len(messages), asks=True)])
        return laid.ids

    def conversation(self, messages: Sequence[Message], tools: str | None = None) -> Turns:
        """Ids up to the stop of the last trained turn: what follows it teaches nothing.

        They are transformers' own, but where a token would run over the border before an answer: there the prompt
        has the ids that it has in use. A turn is trained from that border on, up to and with its stop. Where the
        template rewrites earlier turns, as some do with earlier thoughts, those are not trained.
        Raises DataError where no turn is to be trained, ChatTemplateError where a prompt is no beginning of the text.
        """
        wanted = [number for number, message in enumerate(messages) if message.role == "assistant" and message.trained]
        if not wanted:
            raise DataError("No turn of the conversation is trained.", fix="Give an assistant's turn the weight 1.")
        seen = self._seen(messages, tools)
        whole = seen.text(wanted[-1] + 1)
        found = [self._span(seen, number, whole) for number in wanted]
        if found[-1] is None:
            raise ChatTemplateError(
                "The chat template begins an answer in one way when it asks for it and in another when it is there.",
                where=self.template.where,
                fix=WITHOUT_TEMPLATE,
            )
        return self._laid(whole, [span for span in found if span], left_out=found.count(None))

    def read(self, text: str) -> tuple[int, ...]:
        """Ids of a rendered text for somebody who sees nothing else: all that spells a special token is one."""
        laid, _ = self.special.laid([text])
        return laid.ids

    def closing(self, said: str) -> list[tuple[str, int]]:
        """The special tokens that end a rendered turn, with the places where they end, the last one first."""
        found, place = list[tuple[str, int]](), len(said)
        for token in reversed(list(self.special.pattern.finditer(said))):
            if said[token.end() : place].strip():
                break
            found.append((token[0], token.end()))
            place = token.start()
        return found

    def _seen(self, messages: Sequence[Message], tools: str | None) -> _Seen:
        turns = [self.special.shielded(turn(message, self.template.source)) for message in messages]
        return _Seen(template=self.template, turns=turns, tools=self.special.shielded(tools_of(tools)))

    def _span(self, seen: _Seen, number: int, whole: str) -> tuple[int, int] | None:
        """Where a turn stands in the text, with its stop; None where it is not there as it is when it comes last."""
        before, text = seen.text(number, asks=True), seen.text(number + 1)
        said = text.removeprefix(before)
        closing = self.closing(said)
        # Behind its stop a template may say that the whole conversation ends.
        stops = [end for name, end in closing if name == self.stop] or [end for _, end in closing[:1]] or [len(said)]
        end = len(before) + stops[-1]
        return (len(before), end) if text.startswith(before) and whole.startswith(text[:end]) else None

    def _laid(self, whole: str, spans: Sequence[tuple[int, int]], *, left_out: int) -> Turns:
        borders = [0, *(place for span in spans for place in span)]
        parts = [whole[begin:end] for begin, end in pairwise(borders)]
        laid, ends = self.special.laid(parts)
        if cuts := [number for number in range(0, len(parts), 2) if not self.special.is_border(laid, ends[number])]:
            laid, ends = self.special.laid(parts, cuts=cuts)
        places = [laid.before(end) for end in ends]
        trained = list(zip(places[::2], places[1::2], strict=True))
        ids = laid.ids[: places[-1]]
        if not self.closing(parts[-1]):
            ids, trained[-1] = (*ids, self.end_id), (trained[-1][0], len(ids) + 1)
        return Turns(ids=ids, trained=tuple(trained), left_out=left_out)


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """A conversation as its template sees it."""

    template: ChatTemplate
    turns: list[Any]
    tools: Any

    def text(self, count: int, *, asks: bool = False) -> str:
        """The first turns rendered."""
        return self.template.render(self.turns[:count], self.tools, asks=asks)


def open_chat(template: ChatTemplate, tokenizer: Tokenizer, end_id: int) -> Chat:
    """Learns from a short conversation how answers begin and end.

    Raises ChatTemplateError for a template that does not take the plainest conversation, or loses what was said in it.
    """
    chat = Chat(template=template, special=SpecialTokens(tokenizer), end_id=end_id)
    messages = as_turns(_ASKED, _ANSWERED)
    try:
        text = template.render([turn(message, template.source) for message in messages])
        closing = chat.closing(text)
        chat = replace(chat, stop=closing[-1][0] if closing else None)
        plain = chat.conversation(messages)
    except DataError as error:
        raise ChatTemplateError(error.what, where=template.where, fix=WITHOUT_TEMPLATE) from error
    if _ANSWERED not in text:
        raise ChatTemplateError("The chat template loses what was said.", where=template.where, fix=WITHOUT_TEMPLATE)
    (begin, end), *_ = plain.trained
    lead, found, _ = str(tokenizer.decode(list(plain.ids[begin:end]))).partition(_ANSWERED)
    return replace(chat, lead=lead if found else "")


def as_turns(prompt: str, completion: str) -> tuple[Message, Message]:
    """A question and its answer, which is trained."""
    return Message(role="user", content=prompt), Message(role="assistant", content=completion, trained=True)


def turns_of(example: Example) -> tuple[Message, ...]:
    """The conversation up to the last turn that is trained; one question and its answer where the row is none."""
    if example.messages is None:
        return as_turns(example.prompt, example.completion)
    last = max((number for number, message in enumerate(example.messages) if message.trained), default=None)
    return example.messages if last is None else example.messages[: last + 1]


def asked(example: Example) -> tuple[Message, ...] | None:
    """The turns that `completion` answers: those before the last one trained; None where the row is no conversation."""
    return None if example.messages is None else turns_of(example)[:-1]


def with_worked(asked: Sequence[Message], shots: Iterable[tuple[str, str]]) -> tuple[Message, ...]:
    """Worked examples before the first turn, but after what the system says."""
    worked = [message for shot in shots for message in as_turns(*shot)]
    first = next((n for n, message in enumerate(asked) if message.role not in ("system", "developer")), len(asked))
    return (*asked[:first], *worked, *asked[first:])


def with_rejected(example: Example) -> Example:
    """The same row with the worse answer in the place of the better one, which must be there."""
    worse = example.rejected or ""
    if example.messages is None:
        return replace(example, completion=worse)
    *before, last = turns_of(example)
    return replace(example, completion=worse, messages=(*before, replace(last, content=worse, calls=None)))
