"""Cached decoding: many prompts at once, each through its own adapter, token by token."""

from __future__ import annotations

import time
from collections.abc import Container, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain
from random import Random
from typing import Literal

import torch

from fewtune.engine import devices
from fewtune.engine.base_model import BaseModel
from fewtune.engine.batching import TOKENS_AT_ONCE
from fewtune.engine.choosing import Choice, Chooser, choose
from fewtune.engine.decoding import Decoder
from fewtune.engine.lora import Adapter
from fewtune.engine.shared_prefix import SharedPrefix, read_prefix, shared_length
from fewtune.engine.stopping import Transcript
from fewtune.engine.workers import Stream
from fewtune.errors import DataError

ROWS_AT_ONCE = 32
_FEWEST_PROMPTS = 4
"""For one process: a pass with fewer costs nearly as much as one with these, so a second process would gain little."""
_SECONDS_TO_WAIT = 0.001
"""Before an iterator that had nothing is asked again, while nothing else is to be done."""


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

    def __post_init__(self) -> None:
        if not self.ids:
            raise DataError("A prompt has no tokens; there is nothing to continue.", fix="Give it some text.")


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Text that will not change any more."""

    id: int
    text: str


@dataclass(frozen=True, kw_only=True)
class Continuation:
    """The whole text, cut before the end token or stop sequence."""

    id: int
    text: str
    tokens: int
    """Written, without the end token; those of a stop sequence are counted."""
    stop_reason: Literal["stop", "length"]
    seconds: float
    choices: tuple[Choice, ...] = ()
    """One for each of the tokens, where the prompt asked for log-likelihoods."""


@dataclass(kw_only=True)
class _Writing:
    """One answer on its way."""

    prompt: Prompt
    limit: int
    """Tokens that may be written within the context."""
    chooser: Chooser
    transcript: Transcript
    unread: tuple[int, ...]
    """What the base has not read yet: the prompt, then the token chosen last."""
    started: float
    tokens: int = 0
    choices: list[Choice] = field(default_factory=list[Choice])
    end: Literal["stop", "length"] | None = None


def generate(base: BaseModel, prompts: Iterable[Prompt | None]) -> Iterator[Piece | Continuation]:
    """Continue the prompts in the order they come, up to `ROWS_AT_ONCE` together; each ends in one Continuation.

    The iterator is asked for more before every token for which a row is free, so that prompts may join
    at any time. It should not wait while others are being written: where nothing is there at the moment
    it gives None, and is asked again a token later, or a millisecond later when nothing is being written.
    Between two pieces the base is free: others may train or sample with it.

    A sequence, which has all its prompts from the beginning, is dealt out over the cores where it is long enough.
    """
    if isinstance(prompts, Sequence) and len(prompts) >= 2 * _FEWEST_PROMPTS:
        yield from _generate_side_by_side(base, [prompt for prompt in prompts if prompt])
    else:
        with closing(_steps(base, prompts)) as steps:
            for told in steps:
                yield from told


def _generate_side_by_side(base: BaseModel, prompts: Sequence[Prompt]) -> Iterator[Piece | Continuation]:
    """Every worker that can be spared writes its share, and so does this process.

    Who writes a prompt does not depend on how fast the others are, so the same prompts stand side by side each time.
    """
    most = min(base.workers.count, len(prompts) // _FEWEST_PROMPTS)
    streams: list[Stream[list[Piece | Continuation]]] = []
    try:
        for number in range(1, most):
            stream = base.workers.stream(_steps, prompts[number::most])
            if stream is None:
                break
            streams.append(stream)
        given = range(1, len(streams) + 1)
        own = [prompt for place, prompt in enumerate(prompts) if place % most not in given]
        for told in _steps(base, own):
            yield from told
            for stream in streams:
                yield from chain.from_iterable(stream.waiting())
        for stream in streams:
            yield from chain.from_iterable(stream.rest())
    finally:
        for stream in streams:
            stream.close()


def _steps(base: BaseModel, prompts: Iterable[Prompt | None]) -> Generator[list[Piece | Continuation], None, None]:
    """What each pass through the base has to tell, written by this process alone."""
    arrivals, decoder = _Arrivals(prompts), Decoder(base)
    shared = _shared_prefixes(base, prompts) if isinstance(prompts, Sequence) and base.on_cpu else {}
    writings: list[_Writing] = []
    """In the order of the decoder's rows."""
    while True:
        begun = [_begin(base, prompt, shared) for prompt in arrivals.take(ROWS_AT_ONCE - len(writings))]
        told = [event for writing in begun for event in _told(writing)]
        for writing in begun:
            if not writing.end:
                decoder.join(writing.prompt.adapter, shared.get(id(writing.prompt.adapter)))
                writings.append(writing)
        if writings:
            for writing, choice in zip(writings, _next_tokens(decoder, writings), strict=True):
                _write(writing, choice, base.encoder.stop_ids)
                told += _told(writing)
            _remove_ended(decoder, writings)
        if told:
            yield told
        if not writings and not begun:
            if arrivals.ended:
                return
            time.sleep(_SECONDS_TO_WAIT)


class _Arrivals:
    """Prompts in the order they come."""

    def __init__(self, prompts: Iterable[Prompt | None]) -> None:
        self._prompts = iter(prompts)
        self.ended = False

    def take(self, rows: int) -> list[Prompt]:
        """At most so many, and no more than one pass should read."""
        taken: list[Prompt] = []
        while len(taken) < rows and sum(len(prompt.ids) for prompt in taken) < TOKENS_AT_ONCE:
            try:
                prompt = next(self._prompts)
            except StopIteration:
                self.ended = True
                break
            if prompt is None:
                break
            taken.append(prompt)
        return taken


@torch.inference_mode()
def _shared_prefixes(base: BaseModel, prompts: Sequence[Prompt | None]) -> dict[int, SharedPrefix]:
    """What all the prompts of an adapter begin with, by the adapter's identity."""
    by_adapter: dict[int, list[Prompt]] = {}
    for prompt in filter(None, prompts):
        by_adapter.setdefault(id(prompt.adapter), []).append(prompt)
    found: dict[int, SharedPrefix] = {}
    for identity, group in by_adapter.items():
        length = shared_length([prompt.ids for prompt in group])
        if length and length < base.encoder.context:
            with devices.one_core():
                found[identity] = read_prefix(base, group[0].ids[:length], group[0].adapter)
    return found


def _begin(base: BaseModel, prompt: Prompt, shared: Mapping[int, SharedPrefix]) -> _Writing:
    limit = min(prompt.max_tokens, base.encoder.context - len(prompt.ids))
    prefix = shared.get(id(prompt.adapter))
    return _Writing(
        prompt=prompt,
        limit=limit,
        chooser=Chooser(
            temperature=prompt.temperature,
            top_p=prompt.top_p,
            alternatives=prompt.alternatives,
            random=Random(prompt.seed),
        ),
        transcript=Transcript(base.encoder, prompt.stop),
        unread=prompt.ids[prefix.length :] if prefix else prompt.ids,
        started=time.perf_counter(),
        end="length" if limit <= 0 else None,
    )


@torch.inference_mode()
def _next_tokens(decoder: Decoder, writings: Sequence[_Writing]) -> list[Choice]:
    with devices.one_core():
        logits = decoder.step([writing.unread for writing in writings])
        return choose(logits, [writing.chooser for writing in writings])


def _write(writing: _Writing, choice: Choice, stop_ids: Container[int]) -> None:
    """Add a token to an answer, or end it."""
    if choice.token in stop_ids:
        writing.end = "stop"
    else:
        writing.unread = (choice.token,)
        writing.tokens += 1
        writing.transcript.add(choice.token)
        if writing.chooser.alternatives is not None:
            writing.choices.append(choice)
        if writing.transcript.stopped:
            writing.end = "stop"
        elif writing.tokens >= writing.limit:
            writing.end = "length"
    if writing.end:
        writing.transcript.end()


def _told(writing: _Writing) -> Iterator[Piece | Continuation]:
    """What is new of an answer."""
    text = writing.transcript.take()
    if text:
        yield Piece(id=writing.prompt.id, text=text)
    if writing.end:
        yield Continuation(
            id=writing.prompt.id,
            text=writing.transcript.text,
            tokens=writing.tokens,
            stop_reason=writing.end,
            seconds=time.perf_counter() - writing.started,
            choices=tuple(writing.choices),
        )


def _remove_ended(decoder: Decoder, writings: list[_Writing]) -> None:
    """The last row takes the place of one that leaves, here as in the decoder."""
    for row in reversed(range(len(writings))):
        if writings[row].end:
            decoder.leave(row)
            writings[row] = writings[-1]
            writings.pop()
