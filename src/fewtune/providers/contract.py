"""What it takes to be somewhere that trains and samples: four verbs and one value.

`start` and `advance` train, `cancel` stops, `sample` answers. Handles and model names are plain strings,
so that another process can go on with them. Differences between providers are data in `Capabilities`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from fewtune.types import Example, Plan, Usage
from fewtune.types import Message as Turn

BASE = "base"
"""The model name that every provider understands as the untuned base."""


_TOGETHER = "+"


def mean_of(models: Sequence[str]) -> str:
    """The name of the model whose adapter is the mean of theirs."""
    return _TOGETHER.join(models)


def averaged(model: str) -> list[str]:
    """The models that one is the mean of; a plain model is that of itself."""
    return model.split(_TOGETHER)


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    can_pause: bool
    """Closing `advance` stops training until the next `advance`; False: it runs on to the end by itself."""
    can_fork: bool
    """A trial may start from a checkpoint of another."""
    can_branch: bool
    """A trial may go on from the very step of another, optimizer and all, with another end or rate."""
    can_join: bool
    """A trial may start while others train."""
    can_score: bool
    """`sample` gives the log-likelihood of a given text."""
    returns_checkpoints: bool
    """Checkpoint events carry files on this machine."""
    returns_row_losses: bool
    bills: bool
    """Starting a trial costs money."""
    learning_rate: Literal["absolute", "multiplier"]
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])
    """Smallest and largest value of a Plan's field, where the provider limits it."""
    can_average: bool = False
    """`sample` takes `mean_of` several checkpoints of one trial."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One Plan to be trained on some rows; the id is chosen by the caller and makes `start` idempotent."""

    id: str
    plan: Plan
    seed: int
    train_rows: tuple[int, ...]
    valid_rows: tuple[int, ...]
    """None at all where nothing is to be measured: its points then have no validation."""
    parent: str | None = None
    """Model name of the checkpoint to start from; None starts from the base."""
    branches: bool = False
    """Go on from the parent's very step, where it must stand, instead of starting anew from its weights."""


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """What a provider is connected with: the rows that trials name, and a folder of its own."""

    base: str
    examples: Mapping[int, Example]
    """By row number."""
    folder: Path
    """Kept between processes; a provider finds here what it needs to go on."""
    four_bit: bool = False
    """Keep the base in 4 bits, where it is on this machine."""
    recipe: str | None = None
    """How a base on this machine is given its rows: "chat" or "completion"; None takes the base's own."""
    address: str | None = None
    """Of the cluster to train on, where there is one to be named."""


@dataclass(frozen=True, kw_only=True)
class Validation:
    """The validation rows, measured at one step of one trial."""

    loss: float
    """Mean negative log-likelihood of a trained token, in nats."""
    token_accuracy: float
    sequence_accuracy: float | None
    """Share of rows whose every trained token was the most likely one; None where it is not told."""
    row_losses: tuple[float, ...] | None
    """Mean loss of each row in the order of the trial's valid_rows; None where it is not told."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One step of a trial's curve."""

    handle: str
    step: int
    steps: int
    """Steps of the whole trial; 0 where it is not known."""
    epoch: float
    train_loss: float | None
    train_token_accuracy: float | None = None
    learning_rate: float | None = None
    gradient_norm: float | None = None
    usage: Usage = field(default_factory=Usage)
    """Since the trial began."""
    validation: Validation | None = None


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    handle: str
    step: int
    epoch: int
    model: str
    """Name to sample from, or to start another trial from."""
    folder: Path | None
    """PEFT-format adapter on this machine, if there is one."""


@dataclass(frozen=True, kw_only=True)
class Message:
    """Something the provider wants the user to read."""

    handle: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Failure:
    """The end of one trial; the others go on."""

    handle: str
    code: str
    text: str
    step: int | None = None


@dataclass(frozen=True, kw_only=True)
class Finished:
    handle: str
    model: str
    usage: Usage


Event = Point | Checkpoint | Message | Failure | Finished


@dataclass(frozen=True, kw_only=True)
class Request:
    """One prompt to be continued, or one given answer to be scored."""

    id: int
    prompt: str
    """Text as the user gave it: the provider puts it into the base's frame."""
    shots: tuple[tuple[str, str], ...] = ()
    """Worked examples to stand before the prompt, each a prompt and its completion."""
    messages: tuple[Turn, ...] | None = None
    """The turns to be answered, where the prompt is a conversation; `prompt` is then only its plain text, for those
    that know no turns."""
    tools: str | None = None
    """JSON text of the tools that the conversation may call."""
    score: str | None = None
    """When given, nothing is sampled: this completion's log-likelihood is measured."""
    max_tokens: int = 128
    temperature: float = 0.0
    seed: int = 0
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """A piece of an answer that is still being written."""

    id: int
    text: str


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The whole answer; the stop token and any stop sequence are cut off."""

    id: int
    text: str
    tokens: int
    stop_reason: Literal["stop", "length"]
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Score:
    """The given completion and its stop token, measured token by token."""

    id: int
    log_likelihoods: tuple[float, ...]
    """Nats, one for each completion token and the stop."""
    greedy: tuple[bool, ...]
    """Whether the token was the most likely one."""


Reply = Chunk | Answer | Score


class Provider(Protocol):
    @property
    def capabilities(self) -> Capabilities: ...

    def start(self, trials: Sequence[Trial]) -> tuple[str, ...]:
        """Make the trials known, in order; a trial that was started before gives its old handle.

        Raises UsageError for a plan outside the provider's ranges, ProviderError when a service refuses.
        """
        ...

    def advance(self, targets: Mapping[str, int | None]) -> Generator[Event, None, None]:
        """Train each handle to the given step (None: to its end), yielding as it goes.

        Points before a handle's saved position are not repeated. Closing the iterator pauses
        (see `Capabilities.can_pause`); a failed trial yields one Failure and leaves the others alone.
        """
        ...

    def cancel(self, handles: Sequence[str]) -> None:
        """Stop for good; handles that have ended are left as they are."""
        ...

    def sample(self, model: str, requests: Iterable[Request | None]) -> Iterator[Reply]:
        """Answer with `BASE`, the model of a Checkpoint, or `mean_of` some; every request ends in one Answer or Score.

        The iterator may be alive: None says that nothing is there at the moment, so that what is being
        written goes on.
        """
        ...
