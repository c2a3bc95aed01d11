"""How a prompt and an answer become text, and text becomes token ids with the trained part marked.

The frame of a plain base has its one home here; `pretraining/` imports it, so that what the
built-in base saw while it was made is what tuning sends it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tokenizers import Tokenizer

from fewtune.errors import DataError
from fewtune.types import Example

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
    """One example as token ids; everything from `prompt_length` on is trained: the answer and its stop."""

    row: int
    ids: tuple[int, ...]
    prompt_length: int

    @property
    def trained_tokens(self) -> int:
        return len(self.ids) - self.prompt_length


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """A base's tokenizer and frame; turns examples and prompts into ids of that base."""

    tokenizer: Tokenizer
    end_id: int
    context: int
    """The longest sequence, in tokens, that the base reads."""
    frame: Frame = PLAIN_FRAME
    other_end_ids: tuple[int, ...] = ()
    """Where a base has several end tokens: those that end a sampled answer too, but are not trained on."""

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """Every token that ends an answer."""
        return (self.end_id, *self.other_end_ids)

    def prompt(self, prompt: str, shots: Iterable[tuple[str, str]] = ()) -> tuple[int, ...]:
        """Ids of the framed prompt, begun as the tokenizer begins a text."""
        ids: list[int] = self.tokenizer.encode(self.frame.few_shot_text(prompt, shots)).ids
        return tuple(ids[:-1] if ids and ids[-1] == self.end_id else ids)

    def completion(self, completion: str) -> tuple[int, ...]:
        """Ids of the framed answer and the stop: exactly what is trained on."""
        text = self.frame.completion_text(completion)
        return (*self.tokenizer.encode(text, add_special_tokens=False).ids, self.end_id)

    def example(self, example: Example) -> Encoded:
        """Raises DataError, naming both lengths, for an example that the base's context cannot hold."""
        encoded = self.fit(example)
        if encoded is None:
            length = len(self.prompt(example.prompt)) + len(self.completion(example.completion))
            raise DataError(
                f"The row has {length} tokens; the base reads at most {self.context}.",
                where=str(example.source),
                fix="Shorten it, or choose a base with a longer context.",
            )
        return encoded

    def fit(self, example: Example) -> Encoded | None:
        """The encoded example, or None when it is longer than the context."""
        prompt, completion = self.prompt(example.prompt), self.completion(example.completion)
        if len(prompt) + len(completion) > self.context:
            return None
        return Encoded(row=example.row, ids=prompt + completion, prompt_length=len(prompt))

    def answer(self, ids: Iterable[int]) -> str:
        """Text of sampled ids, without the space that the frame puts before an answer."""
        text: str = self.tokenizer.decode(list(ids))
        return text.removeprefix(" ") if self.frame.leading_space else text
