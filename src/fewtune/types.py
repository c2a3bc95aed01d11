"""Frozen values that three or more packages share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Role = Literal["system", "developer", "user", "assistant", "tool", "function"]
Precision = Literal["fp32", "bf16", "4bit"]
"""In which numbers a base's matrices are kept on this machine."""


def precision_of(four_bit: bool, otherwise: Precision | None) -> Precision | None:
    """What the two settings together ask for; None leaves it to the device."""
    return "4bit" if four_bit else otherwise


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Where a row came from, as the user would look it up."""

    file: str
    line: int
    """Line of the file on which the row begins, counted from 1, header included; in sheets and tables the row."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str
    """Empty where the turn only calls tools."""
    name: str | None = None
    """Who speaks, or which tool answers."""
    trained: bool = False
    """Whether the answer is learnt; only the assistant's turns can be."""
    calls: str | None = None
    """Tool calls, as the JSON text of OpenAI's `tool_calls` list (an old `function_call` becomes one of them)."""
    call_id: str | None = None
    """On a tool's turn: the call that it answers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """One row of data: what is given, what is wanted, and where it stands in the user's file."""

    row: int
    """Number of the row among all rows read, from 0; repairs and splits never renumber."""
    prompt: str
    completion: str
    source: Source
    rejected: str | None = None
    """A worse answer to the same prompt, where preferences are to be learned."""
    messages: tuple[Message, ...] | None = None
    """The whole conversation, where the row is one. `completion` is then what its last trained turn says, and
    `prompt` the turns before as plain text, for all that knows no turns."""
    tools: str | None = None
    """JSON text of the tools that the conversation may call."""
    group: str | None = None
    """Rows of one group stay on one side of every split."""
    references: tuple[str, ...] = ()
    """Other answers that are as good as the completion: judged by, never trained on."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The hyperparameters of one training."""

    base: str = "pocket"
    """The built-in `pocket`, a local folder, or a hub id (on a hosted service: its model's name)."""
    epochs: int = 4
    batch_size: int = 4
    """Examples per optimizer step."""
    learning_rate: float
    """Peak rate of AdamW; on a service that takes a multiplier it is that multiplier."""
    rank: int = 8
    alpha: int = 16
    """LoRA's scale is alpha / rank."""
    prompt_loss_weight: float = 0.0
    """Weight of a prompt token's loss where a completion token weighs 1."""
    warmup_steps: int = 10
    """A fixed number of steps, so that plans that differ in epochs alone share a trunk."""
    cooldown: float = 0.0
    """Share of the steps, at the end, in which the rate falls as 1 - sqrt; 0 leaves it constant."""
    clip: float = 1.0
    """Largest gradient norm of an optimizer step."""
    weight_decay: float = 0.0
    gradient_accumulation: int = 1
    """Batches whose gradients are summed before an optimizer step; the loss is the mean over all of them."""
    adapt_top: float = 1.0
    """Share of the blocks, from the top, that are adapted; below 1 what lies under them is computed once and kept."""
    averaged_checkpoints: int = 1
    """A checkpoint is the mean of this many last epochs' adapters; 1 takes each as it is."""
    preference_beta: float = 0.1
    """How far a training on preferences may move from where it started; larger stays closer."""

    @property
    def rows_per_step(self) -> int:
        """Examples that one optimizer step reads."""
        return self.batch_size * self.gradient_accumulation


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What something took."""

    tokens: int = 0
    """Trained or sampled tokens, each pass over a token counted, padding not counted."""
    seconds: float = 0.0
    usd: float | None = None
    """None where nobody has said yet what it cost."""

    def __add__(self, other: Usage) -> Usage:
        usd = None if self.usd is None or other.usd is None else self.usd + other.usd
        return Usage(tokens=self.tokens + other.tokens, seconds=self.seconds + other.seconds, usd=usd)
