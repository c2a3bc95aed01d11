"""The rivals of a tuned model: worked examples in the prompt, the answer of the nearest row, always saying the same."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence

from fewtune.evaluation.retrieval import Index
from fewtune.types import Example

Fits = Callable[[Sequence[Example]], bool]
"""Whether worked examples leave room for what is asked and its answer."""

_LOOKED_AT = 4
"""Nearest rows that are looked at for each one wanted, where the nearest do not fit."""


def choose_shots(train: Sequence[Example], k: int, seed: int, fits: Fits) -> tuple[Example, ...]:
    """At most k worked examples for a few-shot prompt, drawn at random from the training rows.

    Answers that occur more than once are spread: no answer is shown twice before every answer was shown
    once, so a task with labels sees as many of them as k allows. Rows that do not fit even alone are passed
    over, then the last ones are dropped until `fits` holds for the rest; `fits` has to leave room for the
    longest prompt and its answer. Empty where nothing fits.
    """
    return _fitting(_spread(train, seed), k, fits)


class Neighbours:
    """The training rows by their prompts, for rivals that look up what was asked before."""

    def __init__(self, train: Sequence[Example]) -> None:
        self._train = train
        self._index = Index([example.prompt for example in train])

    def shots(self, prompt: str, k: int, fits: Fits) -> tuple[Example, ...]:
        """At most k worked examples whose prompts are nearest, the nearest last, where it stands beside the question.

        Rows that do not fit even alone are passed over, then the farthest are dropped until the rest fits.
        """
        near = [self._train[place] for place in self._index.nearest(prompt, k * _LOOKED_AT)]
        return _fitting(near, k, fits)[::-1]

    def answer(self, prompt: str) -> str:
        """The completion of the nearest training prompt; there must be one."""
        (nearest,) = self._index.nearest(prompt, 1)
        return self._train[nearest].completion


def majority_answer(train: Sequence[Example]) -> str | None:
    """The most frequent answer, the earlier one of equals; None where no answer occurs twice."""
    counts = Counter(example.completion.strip() for example in train).most_common(1)
    return counts[0][0] if counts and counts[0][1] > 1 else None


def _spread(train: Sequence[Example], seed: int) -> list[Example]:
    """Shuffled, then ordered by how often the row's answer came before; rows of unique answers stay shuffled."""
    shuffled = random.Random(seed).sample(train, len(train))
    seen: Counter[str] = Counter()
    rounds: list[int] = []
    for example in shuffled:
        rounds.append(seen[example.completion.strip()])
        seen[example.completion.strip()] += 1
    return [example for _, example in sorted(zip(rounds, shuffled, strict=True), key=lambda pair: pair[0])]


def _fitting(ordered: Sequence[Example], k: int, fits: Fits) -> tuple[Example, ...]:
    shots: list[Example] = []
    for example in ordered:
        if len(shots) >= k:
            break
        if fits((example,)):
            shots.append(example)
    while shots and not fits(shots):
        shots.pop()
    return tuple(shots)
