"""Cached decoding: many prompts at once, each through its own adapter, token by token."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import chain

import torch

from fewtune.engine import devices
from fewtune.engine.arrivals import Arrivals, Ask
from fewtune.engine.base_model import BaseModel
from fewtune.engine.batching import TOKENS_AT_ONCE
from fewtune.engine.choosing import choose
from fewtune.engine.continuation import Prompt, Told
from fewtune.engine.decoding import Decoder
from fewtune.engine.shared_prefix import SharedPrefix, read_prefix, shared_length
from fewtune.engine.workers import Stream
from fewtune.engine.writing import Writing

ROWS_AT_ONCE = 32
READ_AT_ONCE = 192
"""Tokens of prompts that are read in a pass, on a CPU, while prompts may come at any time."""
_FEWEST_PROMPTS = 4
"""For one process: a pass with fewer costs nearly as much as one with these, so a second process would gain little."""
_SECONDS_TO_WAIT = 0.001
"""Before an iterator that had nothing is asked again, while nothing else is to be done."""


def generate(base: BaseModel, prompts: Iterable[Ask]) -> Iterator[Told]:
    """Continue the prompts in the order they come, up to `ROWS_AT_ONCE` together; each ends in one Continuation.

    The iterator is asked for more before every token, so that prompts may join, and be withdrawn, at any time. It
    should not wait while others are being written: where nothing is there at the moment it gives None, and is asked
    again a token later, or a millisecond later when nothing is being written. Between two pieces the base is free:
    others may train or sample with it.

    A sequence, which has all its prompts from the beginning, is dealt out over the cores where it is long enough.
    """
    if isinstance(prompts, Sequence):
        given = [prompt for prompt in prompts if isinstance(prompt, Prompt)]
        if len(given) >= 2 * _FEWEST_PROMPTS:
            yield from _generate_side_by_side(base, given)
            return
        steps = _steps(base, given)
    else:
        steps = passes(base, prompts)
    with closing(steps):
        yield from chain.from_iterable(steps)


def _generate_side_by_side(base: BaseModel, prompts: Sequence[Prompt]) -> Iterator[Told]:
    """Every worker that can be spared writes its share, and so does this process.

    Who writes a prompt does not depend on how fast the others are, so the same prompts stand side by side each time.
    """
    most = min(base.workers.count, len(prompts) // _FEWEST_PROMPTS)
    streams: list[Stream[list[Told]]] = []
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


def passes(base: BaseModel, asks: Iterable[Ask]) -> Generator[list[Told], None, None]:
    """The same of an iterator, pass by pass: what each has to tell, which may be nothing.

    A long prompt is read in slices, so that it does not hold up the others.
    """
    yield from _passes(base, Arrivals(asks), _Rows(base, slice=READ_AT_ONCE if base.on_cpu else None))


def _steps(base: BaseModel, prompts: Sequence[Prompt]) -> Generator[list[Told], None, None]:
    """What each pass through the base has to tell, written by this process alone."""
    shared = _shared_prefixes(base, prompts) if base.on_cpu else {}
    yield from filter(None, _passes(base, Arrivals(prompts), _Rows(base, shared)))


def _passes(base: BaseModel, arrivals: Arrivals, rows: _Rows) -> Iterator[list[Told]]:
    while True:
        told = [event for id in arrivals.take() for event in rows.withdraw(arrivals, id)]
        told += rows.begin(arrivals)
        told += rows.advance()
        yield told
        if rows.empty and not told:
            if arrivals.ended:
                return
            time.sleep(_SECONDS_TO_WAIT)


class _Rows:
    """The answers that are being written together."""

    def __init__(
        self, base: BaseModel, shared: Mapping[int, SharedPrefix] | None = None, *, slice: int | None = None
    ) -> None:
        """`shared` is what all prompts of an adapter begin with, by its identity; of a prompt longer than a slice
        only that much is read at a time."""
        self._base = base
        self._decoder = Decoder(base)
        self._shared = shared or {}
        self._slice = slice
        self._reading: deque[Writing] = deque()
        """Those whose prompt is not, or not wholly, read."""
        self._writing: list[Writing] = []
        """In the order of the decoder's rows."""

    @property
    def empty(self) -> bool:
        return not (self._reading or self._writing)

    def begin(self, arrivals: Arrivals) -> list[Told]:
        """Give free rows to those that wait."""
        told: list[Told] = []
        while arrivals.waiting and len(self._reading) + len(self._writing) < ROWS_AT_ONCE:
            prompt = arrivals.waiting.popleft()
            writing = Writing(self._base, prompt, self._shared.get(id(prompt.adapter)))
            if writing.end:
                told += writing.told()
            else:
                self._reading.append(writing)
        return told

    def withdraw(self, arrivals: Arrivals, id: int) -> Iterator[Told]:
        """End an answer, wherever it is."""
        for prompt in arrivals.withdraw(id):
            writing = Writing(self._base, prompt)
            writing.withdraw()
            yield from writing.told()
        for writing in (*self._reading, *self._writing):
            if writing.prompt.id == id:
                writing.withdraw()
                yield from writing.told()
        self._reading = deque(writing for writing in self._reading if not writing.end)
        self._remove_ended()

    @torch.inference_mode()
    def advance(self) -> list[Told]:
        """One pass: prompts are read, and every answer whose prompt is read gets its next token."""
        with devices.one_core():
            self._join()
            if not self._writing:
                return []
            masks = {row: one.grammar.mask() for row, one in enumerate(self._writing) if one.grammar}
            logits = self._decoder.step([writing.unread for writing in self._writing])
            choices = choose(logits, [writing.chooser for writing in self._writing], masks)
        told: list[Told] = []
        for writing, choice in zip(self._writing, choices, strict=True):
            writing.write(choice)
            told += writing.told()
        self._remove_ended()
        return told

    def _join(self) -> None:
        """Let prompts into the pass, no more of them than one should read."""
        most = left = self._slice or TOKENS_AT_ONCE
        while self._reading and left > 0:
            writing = self._reading[0]
            if self._slice and len(writing.unread) > left:
                # What is left of a pass is too little for one more of its own.
                if left == most:
                    self._read_slice(writing, left)
                return
            self._reading.popleft()
            self._decoder.join(writing.prompt.adapter, writing.prefix)
            self._writing.append(writing)
            left -= len(writing.unread)

    def _read_slice(self, writing: Writing, length: int) -> None:
        ids, writing.unread = writing.unread[:length], writing.unread[length:]
        writing.prefix = read_prefix(self._base, ids, writing.prompt.adapter, writing.prefix)

    def _remove_ended(self) -> None:
        """The last row takes the place of one that leaves, here as in the decoder."""
        for row in reversed(range(len(self._writing))):
            if self._writing[row].ended:
                self._decoder.leave(row)
                self._writing[row] = self._writing[-1]
                self._writing.pop()


@torch.inference_mode()
def _shared_prefixes(base: BaseModel, prompts: Sequence[Prompt]) -> dict[int, SharedPrefix]:
    """What all the prompts of an adapter begin with, by the adapter's identity."""
    by_adapter: dict[int, list[Prompt]] = {}
    for prompt in prompts:
        by_adapter.setdefault(id(prompt.adapter), []).append(prompt)
    found: dict[int, SharedPrefix] = {}
    for identity, group in by_adapter.items():
        length = shared_length([prompt.ids for prompt in group])
        if length and length < base.encoder.context:
            with devices.one_core():
                found[identity] = read_prefix(base, group[0].ids[:length], group[0].adapter)
    return found
