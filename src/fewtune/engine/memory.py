"""What training takes of a machine's memory, said before it begins.

What a pass keeps for its backward pass is counted from the blocks' code: in ours, for every token, the input and
the output of each linear layer, but for a few percent. The constants are measured.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from fewtune.bases.folder import describe, open_encoder
from fewtune.bases.shape import Shape, shape
from fewtune.data.chat import with_rejected
from fewtune.data.encode import Encoder
from fewtune.engine import devices
from fewtune.engine.batching import TOKENS_AT_ONCE, piece_count
from fewtune.engine.free_memory import free_bytes, own_bytes
from fewtune.engine.head import ROWS_AT_ONCE
from fewtune.engine.precision import chosen, own_blocks
from fewtune.engine.prefix import BYTES_IN_MEMORY
from fewtune.engine.trainer import TOKENS_PER_PASS, WIDEST
from fewtune.errors import TrainingError
from fewtune.types import Example, Plan, Precision

_MB = 2**20
_PROGRAM = 175 * _MB
"""Python with torch, before anything is loaded."""
_CHILD = 50 * _MB
"""A forked worker's own part of that: pages that Python writes to, and buffers of the matrix library."""
_THREAD = 10 * _MB
_TRANSFORMERS = 1.4
"""What blocks in transformers keep more than ours do; from 0.8 (OPT) to 1.9 (GPT-2)."""
HELD = 1.2
"""Memory that the allocator holds for each byte that is in use."""
_WORST = 2**22
"""Above this nobody asks for more trials, or for longer rows."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """A base on a device."""

    shape: Shape
    own_blocks: bool
    """Its blocks are ours; else transformers'."""
    device: Literal["cpu", "cuda", "mps"]
    workers: int
    forked: bool
    """The workers are processes that share the base, not threads."""
    precision: Precision
    """Of the base's matrices."""

    @property
    def dtype(self) -> str:
        return "4-bit" if self.precision == "4bit" else self.precision

    @property
    def number_bytes(self) -> int:
        """Of one number of an activation."""
        return 2 if self.device == "cuda" else 4


@dataclass(frozen=True, kw_only=True)
class Work:
    """What is to be trained together; the trials are alike, each as large as the largest."""

    trials: int
    rank: int
    adapt_top: float
    longest: int
    """Tokens of the longest row."""
    step: int
    """Tokens of one optimizer step of one trial."""
    all: int
    """Tokens of all rows."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """Bytes at the peak of training, on the device that trains."""

    base: int
    """The frozen base, which all trials and workers share."""
    program: int
    """Python and torch, and what each worker has of its own; 0 on CUDA, since they are elsewhere."""
    adapters: int
    """Every trial's adapter with AdamW's two moments, and the gradients on their way."""
    activations: int
    """Of the passes that run at the same time."""
    prefixes: int
    """What `adapt_top` below 1 keeps of the frozen blocks; beyond a limit it is kept in files."""

    @property
    def total(self) -> int:
        return self.base + self.program + self.adapters + self.activations + self.prefixes


def place(base: str, *, precision: Precision | None = None) -> Place:
    """Where and how this machine would train the base.

    Raises BaseModelError for one that cannot be read, UsageError for a precision that cannot be had.
    """
    best = devices.best()
    device, kept = best.type, chosen(precision, best)
    on_cpu = device == "cpu"
    return Place(
        shape=shape(base),
        own_blocks=own_blocks(describe(base), kept, best),
        device="cuda" if device == "cuda" else "mps" if device == "mps" else "cpu",
        workers=devices.cores() if on_cpu else 1,
        forked=on_cpu and sys.platform == "linux",
        precision=kept,
    )


def work(plans: Sequence[Plan], lengths: Iterable[int]) -> Work:
    """The trials of these plans on rows of so many tokens, each as large as the largest of them; neither is empty."""
    lengths = sorted(lengths, reverse=True)
    return Work(
        trials=len(plans),
        rank=max(plan.rank for plan in plans),
        adapt_top=max(plan.adapt_top for plan in plans),
        longest=lengths[0],
        step=max(sum(lengths[: plan.rows_per_step]) for plan in plans),
        all=sum(lengths),
    )


def forecast(at: Place, asked: Work) -> Forecast:
    first = min(at.shape.blocks - math.ceil(asked.adapt_top * at.shape.blocks), at.shape.blocks - 1)
    tokens = _pass_tokens(at, asked)
    kept = 0 if first == 0 else min(asked.all * at.shape.width * at.number_bytes, BYTES_IN_MEMORY // at.workers)
    own = (_CHILD if at.forked else _THREAD) * at.workers
    return Forecast(
        base=_base(at),
        program=0 if at.device == "cuda" else _PROGRAM + own,
        adapters=_adapters(at, asked, first),
        activations=round(HELD * at.workers * _pass(at, asked, first, tokens)),
        prefixes=at.workers * kept,
    )


def widest(at: Place, asked: Work, limit: int) -> int:
    """How many such trials fit into that much memory, all else included; 0 where not even one does."""
    return _largest(lambda trials: forecast(at, replace(asked, trials=trials)).total <= limit)


def longest(at: Place, asked: Work, limit: int) -> int:
    """How long a row may be, in tokens, where a step is this row alone; 0 where nothing fits."""
    return _largest(lambda n: forecast(at, replace(asked, longest=n, step=n, all=max(n, asked.all))).total <= limit)


def room(at: Place) -> int | None:
    """Bytes that training may take, what this process has already among them; None where nobody knows."""
    free = free_bytes(at.device)
    if free is None or at.device == "cuda":
        return free
    return free + max(own_bytes(), _PROGRAM)


def check(
    base: str,
    plans: Sequence[Plan],
    examples: Iterable[Example],
    *,
    precision: Precision | None = None,
    recipe: str | None = None,
) -> None:
    """Raises TrainingError, with both numbers and with what would fit, where these trials together are too large.

    To be called before the base is loaded. Where it is not known how much memory there is, nothing is said.
    """
    at = place(base, precision=precision)
    limit, lengths = room(at), _lengths(open_encoder(base, recipe), examples)
    if limit is not None and plans and lengths:
        refuse(at, work(plans, lengths), limit)


def beside(
    base: str,
    plans: Sequence[Plan],
    examples: Iterable[Example],
    *,
    precision: Precision | None = None,
    recipe: str | None = None,
) -> int | None:
    """How many trainings like the largest of these fit into this machine together; None where nobody knows."""
    at = place(base, precision=precision)
    limit, lengths = room(at), _lengths(open_encoder(base, recipe), examples)
    return None if limit is None or not lengths else widest(at, work(plans, lengths), limit)


def _lengths(encoder: Encoder, examples: Iterable[Example]) -> list[int]:
    """Tokens of each row; of a better and a worse answer together, which go through one pass."""
    found: list[int] = []
    for example in {example.row: example for example in examples}.values():
        rows = [example, *([] if example.rejected is None else [with_rejected(example)])]
        found.append(sum(min(encoder.context, len(encoder.whole(row).ids)) for row in rows))
    return found


def refuse(at: Place, asked: Work, limit: int) -> None:
    """The decision of `check`, from its numbers."""
    needed = forecast(at, asked)
    if needed.total <= limit:
        return
    what = f"{asked.trials} trials together need" if asked.trials > 1 else "This training needs"
    raise TrainingError(
        f"{what} about {spoken(needed.total)} of memory, {spoken(needed.base)} of it for the base in {at.dtype}; "
        f"there are {spoken(limit)}.",
        fix=_advice(at, asked, limit),
    )


def _advice(at: Place, asked: Work, limit: int) -> str:
    if width := widest(at, asked, limit):
        return f"{width} of them would fit: try fewer values at a time."
    one = replace(asked, trials=1)
    step = _largest(lambda tokens: forecast(at, replace(one, step=max(tokens, one.longest))).total <= limit)
    if step > one.longest:
        return f"One fits with steps of {step} tokens: choose a smaller batch size."
    if row := longest(at, one, limit):
        return f"One fits with rows of up to {row} tokens: the longest, of {one.longest}, must be shortened."
    smaller = replace(at, precision="4bit", own_blocks=False)
    if at.device == "cuda" and forecast(smaller, one).total <= limit:
        return "It fits with the base in 4 bits: set FEWTUNE_FOUR_BIT=1."
    return "Choose a smaller base, or a machine with more memory."


def spoken(size: int) -> str:
    """Bytes for people."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


def _largest(fits: Callable[[int], bool]) -> int:
    """The largest number that fits, where every smaller one does too."""
    low, high = 0, 1
    while high <= _WORST and fits(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _base(at: Place) -> int:
    """4 bits a number and, for 64 of them, their scale in fp32; the ends of the base stay as they are."""
    if at.precision != "4bit":
        return (4 if at.precision == "fp32" else 2) * at.shape.parameters
    ends = at.shape.parameters - at.shape.block_parameters
    return at.number_bytes * ends + at.shape.block_parameters * (64 * 4 + 32) // (64 * 8)


def _pass_tokens(at: Place, asked: Work) -> int:
    """Of the largest training pass of one worker: see `trainer._passes`."""
    if at.device == "cpu":
        return max(asked.longest, math.ceil(asked.step / _pieces(asked)))
    return min(min(asked.trials, _beside(asked)) * asked.step, max(TOKENS_PER_PASS, asked.longest))


def _pieces(asked: Work) -> int:
    """Passes of one optimizer step on a CPU, as `batching.pieces` cuts them."""
    return min(math.ceil(asked.step / asked.longest), piece_count(asked.step))


def _beside(asked: Work) -> int:
    """Adapters in one pass on a GPU."""
    return max(1, WIDEST // asked.rank)


def _adapters(at: Place, asked: Work, first: int) -> int:
    sides = sum(layer.sides for layer in at.shape.layers if layer.adapted and layer.block >= first)
    one = 4 * asked.rank * sides
    kept = 3 * asked.trials
    if at.device == "cpu":
        # Gradients of the steps that wait for their turn; copies at the two ends of a connection; AdamW's own.
        waiting = min(asked.trials, at.workers + 1) * _pieces(asked)
        return one * (kept + waiting + 10 + 5 * at.workers)
    beside = min(asked.trials, _beside(asked))
    passes = math.ceil(beside * asked.step / _pass_tokens(at, asked))
    # Each pass gives a gradient for all; matrices of several adapters are copied; AdamW has four of its own.
    return one * (kept + beside * (passes + 7))


def _pass(at: Place, asked: Work, first: int, tokens: int) -> int:
    """Of a training pass and of a validation pass the larger, for one worker."""
    beside = 1 if at.device == "cpu" else min(asked.trials, _beside(asked))
    upper = [layer for layer in at.shape.layers if layer.block >= first]
    per_token = sum(layer.use * layer.sides for layer in upper) * (1.0 if at.own_blocks else _TRANSFORMERS)
    per_token += asked.rank * beside * sum(layer.adapted for layer in upper)
    backward = 4 * max((layer.largest_side for layer in upper), default=0) * tokens * at.number_bytes
    training = per_token * tokens * at.number_bytes + max(_head(at, tokens), backward)
    together = max(asked.longest, min(TOKENS_AT_ONCE, asked.all))
    one_block = sum(layer.use * layer.sides for layer in at.shape.layers) / at.shape.blocks
    return round(max(training, one_block * together * at.number_bytes + _head(at, together)))


def _head(at: Place, tokens: int) -> int:
    """The logits of one chunk of rows in fp32, with a copy where the base is in bf16, beside the chunk before."""
    rows = ROWS_AT_ONCE[at.device]
    return min(tokens, rows) * at.shape.vocabulary * (4 if at.precision == "fp32" else 6) + (
        min(max(0, tokens - rows), rows) * at.shape.vocabulary * 4
    )
