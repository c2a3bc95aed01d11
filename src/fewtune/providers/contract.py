"""What it takes to be somewhere that trains and samples: four verbs and one value.

`start` and `advance` train, `cancel` stops, `sample` answers. Handles and model names are plain strings,
so that another process can go on with them. Differences between providers are data in `Capabilities`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from fewtune.types import Example, Plan, Precision, Usage
from fewtune.types import Message as Turn

BASE = "base"
"""The model name that every provider understands as the untuned base."""


MODEL_FILE = "model.txt"
"""In a folder of `Workspace.adapters`: the provider's own name of the model, where that is all there is of it."""

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
    can_mix: bool = False
    """Requests of one `sample` may name different models."""
    can_continue: bool = False
    """A prompt may be continued as it stands, without the base's frame."""
    tells_choices: bool = False
    """Log-likelihoods of what is written, and alternatives to it."""
    constrains: Literal["object", "schema"] | None = None
    """What `Request.json` may ask for: any object, or also what a schema says; None: neither."""


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
    """Model name of the checkpoint to start from, or one of `Workspace.adapters`; None starts from the base."""
    branches: bool = False
    """Go on from the parent's very step, where it must stand, instead of starting anew from its weights."""


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """What a provider is connected with: the rows that trials name, and a folder of its own."""

    base: str
    examples: Mapping[int, Example]
    """By row number; it may be read from wherever it is kept, row by row."""
    folder: Path
    """Kept between processes; a provider finds here what it needs to go on."""
    precision: Precision | None = None
    """How the base is kept, where it is on this machine; None is what the device does unasked."""
    recipe: str | None = None
    """How a base on this machine is given its rows: "chat" or "completion"; None takes the base's own."""
    address: str | None = None
    """Of the cluster to train on, where there is one to be named."""
    adapters: Mapping[str, Path] = field(default_factory=dict[str, Path])
    """Further model names, beside those of the provider's own checkpoints, and their folders; asked anew for every
    request. A folder holds the adapter in PEFT's format, or `MODEL_FILE`, where the provider returns no files."""


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
    row_exact: tuple[bool, ...] | None = None
    """Whether each row's every trained token was the most likely one; None where it is not told."""


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
    """No two answers that are being written have the same."""
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
    model: str | None = None
    """Another model than the one that `sample` was called with (see `Capabilities.can_mix`)."""
    top_p: float = 1.0
    """Draw from the fewest most likely tokens that hold this share of the distribution."""
    alternatives: int | None = None
    """With a number, each token's log-likelihood is told, and those of so many of the most likely tokens."""
    framed: bool = True
    """False: the prompt's text is continued as it stands."""
    json: str | None = None
    """Let the answer be JSON: "object" for an object of any shape, or the text of a JSON Schema. An answer that ends
    by itself is then whole; one that ends by a stop sequence, or where its tokens run out, may be cut."""


@dataclass(frozen=True, kw_only=True)
class Withdrawal:
    """The answer is not wanted any more: it ends where it is. One to an answer that has ended changes nothing."""

    id: int


Ask = Request | Withdrawal | None
"""What `sample` is given: None says that nothing is there at the moment."""


@dataclass(frozen=True, kw_only=True)
class TokenChoice:
    """One token of an answer. `text.encode(errors="surrogateescape")` are its bytes, which need not be whole
    characters; the texts of an answer's tokens together, as bytes, are the answer."""

    text: str
    log_likelihood: float
    """Nats, of the model itself: before temperature, nucleus and constraint."""
    alternatives: tuple[tuple[str, float], ...] = ()
    """The most likely tokens with their log-likelihoods, best first; the chosen one may be among them."""


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """A piece of an answer that is still being written."""

    id: int
    text: str
    """Empty at most where it comes with choices that have no text of their own."""
    choices: tuple[TokenChoice, ...] = ()
    """Of the tokens whose text, or the last of it, is told here; where the request asks for them."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The whole answer; the stop token and any stop sequence are cut off."""

    id: int
    text: str
    tokens: int
    """Written, without the end token; those of a stop sequence are counted."""
    stop_reason: Literal["stop", "length", "withdrawn"]
    seconds: float
    prompt_tokens: int | None = None
    """Read; None where it is not told."""
    choices: tuple[TokenChoice, ...] = ()
    """Those of its chunks, together."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """The given completion and its stop token, measured token by token."""

    id: int
    log_likelihoods: tuple[float, ...]
    """Nats, one for each completion token and the stop."""
    greedy: tuple[bool, ...]
    """Whether the token was the most likely one."""


RefusalCode = Literal[
    "model_not_found",
    "model_unusable",
    "context_length_exceeded",
    "invalid_prompt",
    "invalid_schema",
    "unsupported",
]


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """The end of a request that cannot be answered; the others go on."""

    id: int
    code: RefusalCode
    text: str
    """One sentence for whoever asked: it names nothing of this machine."""
    fix: str | None = None
    scored: bool = False
    """Whether it was a score that was asked for."""


Reply = Chunk | Answer | Score | Refusal


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

    def sample(self, model: str, requests: Iterable[Ask]) -> Iterator[Reply]:
        """Answer with `BASE`, the model of a Checkpoint, `mean_of` some, or one of `Workspace.adapters`.

        Every request ends in one Answer, Score or Refusal. The iterator may be alive: None says that nothing is
        there at the moment, so that what is being written goes on. Raises UsageError or BaseModelError where there is
        no such model, or it is damaged; of a model that a request names that is a Refusal.
        """
        ...
