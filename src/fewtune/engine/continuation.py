"""What is asked of the sampler, and what it tells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fewtune.engine.choosing import Choice
from fewtune.engine.lora import Adapter
from fewtune.errors import DataError

Ending = Literal["stop", "length", "withdrawn"]


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """One continuation to be written."""

    id: int
    ids: tuple[int, ...]
    max_tokens: int
    adapter: Adapter | None = None
    """None is the bare base."""
    temperature: float = 0.0
    """0 takes the most likely token; above it the distribution is sharpened or flattened."""
    top_p: float = 1.0
    """Draw from the fewest most likely tokens that hold this share of the distribution."""
    seed: int = 0
    stop: tuple[str, ...] = ()
    alternatives: int | None = None
    """With a number, each token's log-likelihood is told, and those of so many of the most likely tokens."""
    framed: bool = True
    """Whether the continuation is an answer in the base's frame, which is then not part of its text."""

    json: str | None = None
    """Hold the continuation to JSON: "object", or the text of a JSON Schema."""

    def __post_init__(self) -> None:
        if not self.ids:
            raise DataError("A prompt has no tokens; there is nothing to continue.", fix="Give it some text.")


@dataclass(frozen=True, kw_only=True)
class Withdrawal:
    """The continuation is to end where it is; nothing where it has ended."""

    id: int


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Text that will not change any more."""

    id: int
    text: str
    choices: tuple[Choice, ...] = ()
    """Where the prompt asked for log-likelihoods: of the tokens whose text, or the last of it, is told here."""


@dataclass(frozen=True, kw_only=True)
class Continuation:
    """The whole text, cut before the end token or stop sequence."""

    id: int
    text: str
    tokens: int
    """Written, without the end token; those of a stop sequence are counted."""
    prompt_tokens: int
    stop_reason: Ending
    seconds: float
    choices: tuple[Choice, ...] = ()
    """One for each of the tokens, where the prompt asked for log-likelihoods."""


@dataclass(frozen=True, kw_only=True)
class Broken:
    """The end of a continuation that cannot be held to its schema to the end."""

    id: int
    text: str


Told = Piece | Continuation | Broken
