"""How a prompt and an answer become text, and text becomes token ids with the trained part marked.

The frame of a plain base has its one home here; `pretraining/` imports it, so that what the
built-in base saw while it was made is what tuning sends it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from tokenizers import Tokenizer

from fewtune.data.chat import Chat, Turns, turns_of, with_worked
from fewtune.errors import DataError
from fewtune.types import Example, Message

Recipe = Literal["chat", "completion"]

BEGIN_TOKEN = "<|begin|>"
END_TOKEN = "<|end|>"
PAD_TOKEN = "<|pad|>"
ROLE_TOKENS = ("<|system|>", "<|user|>", "<|assistant|>", "<|tool|>")
SPARE_TOKENS = tuple(f"<|spare_{index}|>" for index in range(25))
SPECIAL_TOKENS = (BEGIN_TOKEN, END_TOKEN, PAD_TOKEN, *ROLE_TOKENS, *SPARE_TOKENS)
"""The built-in tokenizer's reserved ids, 0 to 31, in this order; frozen with its weights."""


@dataclass(frozen=True, kw_only=True)
class Frame:
    """How one example stands as text: prompt, separator, answer, stop.

    The stop is the base's own end token, so it is not text and cannot occur in the data. Prompt and
    answer are tokenised apart: the border between them never falls inside a token, in training as in use.
    """

    separator: str = " ->"
    """Ends the prompt; chosen because it needs no line break and is rare in prose."""
    leading_space: bool = True
    """The answer starts with a space, so that its first word has the same token as inside a sentence."""
    delimiter: str = "\n\n###\n\n"
    """Stands between worked examples in a few-shot prompt; sampling from such a prompt also stops at it."""

    def prompt_text(self, prompt: str) -> str:
        return prompt.strip() + self.separator

    def completion_text(self, completion: str) -> str:
        return (" " if self.leading_space else "") + completion.strip()

    def few_shot_text(self, prompt: str, shots: Iterable[tuple[str, str]]) -> str:
        """Worked examples before the prompt, in the order given."""
        worked = [self.prompt_text(p) + self.completion_text(c) + self.delimiter for p, c in shots]
        return "".join(worked) + self.prompt_text(prompt)


PLAIN_FRAME = Frame()
"""The frame of every plain base; frozen with the built-in base's weights."""


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """One example as token ids; from `prompt_length` on all is trained but for the gaps: answers and their stops."""

    row: int
    ids: tuple[int, ...]
    prompt_length: int
    gaps: tuple[tuple[int, int], ...] = ()
    """Half-open stretches after the prompt that are not trained: in a conversation, what stands between answers."""
    left_out: int = 0
    """Turns that should be trained and are not, since the base's template rewrites them once others follow."""

    @property
    def trained_tokens(self) -> int:
        return len(self.ids) - self.prompt_length - sum(end - begin for begin, end in self.gaps)

    @property
    def trained(self) -> tuple[bool, ...]:
        """Of each token."""
        marks = [place >= self.prompt_length for place in range(len(self.ids))]
        for begin, end in self.gaps:
            marks[begin:end] = [False] * (end - begin)
        return tuple(marks)


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """A base's tokenizer and frame or chat template; turns examples and prompts into ids of that base."""

    tokenizer: Tokenizer
    end_id: int
    context: int
    """The longest sequence, in tokens, that the base reads."""
    frame: Frame = PLAIN_FRAME
    other_end_ids: tuple[int, ...] = ()
    """Where a base has several end tokens: those that end a sampled answer too. In its frame they are not trained."""
    chat: Chat | None = None
    """The recipe "chat": conversations are put into the base's own template, not into the frame."""

    @property
    def recipe(self) -> Recipe:
        return "chat" if self.chat else "completion"

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """Every token that ends an answer."""
        return (self.end_id, *self.other_end_ids)

    @property
    def lead(self) -> str:
        """What stands before an answer and is none of it: the frame's space, or what the template writes there."""
        return self.chat.lead if self.chat else " " if self.frame.leading_space else ""

    def prompt(
        self,
        prompt: str,
        shots: Iterable[tuple[str, str]] = (),
        *,
        messages: Sequence[Message] | None = None,
        tools: str | None = None,
    ) -> tuple[int, ...]:
        """Ids of what is to be answered.

        A chat model is given the messages, where there are any, and the prompt as the user's turn where there are
        none; shots are turns before them. Every other base is given the prompt in its frame, begun as the tokenizer
        begins a text.
        """
        if self.chat:
            return self.chat.prompt(_question(prompt, shots, messages), tools)
        return self._begun(self.frame.few_shot_text(prompt, shots))

    def raw(self, text: str) -> tuple[int, ...]:
        """Ids of a text that is to go on as it stands; of an empty one, what a text begins after."""
        return self._begun(text) or (self.end_id,)

    def _begun(self, text: str) -> tuple[int, ...]:
        ids: list[int] = self.tokenizer.encode(text).ids
        return tuple(ids[:-1] if ids and ids[-1] == self.end_id else ids)

    def completion(self, completion: str) -> tuple[int, ...]:
        """Ids of the answer as it is trained, with its stop."""
        if self.chat:
            encoded = self.scored("", completion)
            return encoded.ids[encoded.prompt_length :]
        text = self.frame.completion_text(completion)
        return (*self.tokenizer.encode(text, add_special_tokens=False).ids, self.end_id)

    def scored(
        self,
        prompt: str,
        completion: str,
        shots: Iterable[tuple[str, str]] = (),
        *,
        messages: Sequence[Message] | None = None,
        tools: str | None = None,
        row: int = 0,
    ) -> Encoded:
        """A prompt as `prompt` takes it and one answer, which alone is trained; however long that is."""
        if self.chat:
            answer = Message(role="assistant", content=completion, trained=True)
            before = [replace(message, trained=False) for message in _question(prompt, shots, messages)]
            return _encoded(row, self.chat.conversation([*before, answer], tools))
        ids = self.prompt(prompt, shots)
        return Encoded(row=row, ids=ids + self.completion(completion), prompt_length=len(ids))

    def whole(self, example: Example) -> Encoded:
        """The example, however long it is; raises DataError, with its place, where none of its turns is trained."""
        if not self.chat:
            return self.scored(example.prompt, example.completion, row=example.row)
        try:
            return _encoded(example.row, self.chat.conversation(turns_of(example), example.tools))
        except DataError as error:
            raise DataError(error.what, where=str(example.source), fix=error.fix) from error

    def example(self, example: Example) -> Encoded:
        """Raises DataError, naming both lengths, for an example that the base's context cannot hold."""
        encoded = self.whole(example)
        if len(encoded.ids) > self.context:
            raise DataError(
                f"The row has {len(encoded.ids)} tokens; the base reads at most {self.context}.",
                where=str(example.source),
                fix="Shorten it, or choose a base with a longer context.",
            )
        return encoded

    def fit(self, example: Example) -> Encoded | None:
        """The encoded example, or None when it is longer than the context."""
        encoded = self.whole(example)
        return encoded if len(encoded.ids) <= self.context else None

    def answer(self, ids: Iterable[int]) -> str:
        """Text of sampled ids, without what the frame or the template puts before an answer."""
        text: str = self.tokenizer.decode(list(ids))
        return text.removeprefix(self.lead)


def _question(prompt: str, shots: Iterable[tuple[str, str]], messages: Sequence[Message] | None) -> tuple[Message, ...]:
    asked = (Message(role="user", content=prompt),) if messages is None else tuple(messages)
    return with_worked(asked, shots)


def _encoded(row: int, turns: Turns) -> Encoded:
    (first, _), *_ = turns.trained
    gaps = tuple((end, begin) for (_, end), (begin, _) in pairwise(turns.trained))
    return Encoded(row=row, ids=turns.ids, prompt_length=first, gaps=gaps, left_out=turns.left_out)
