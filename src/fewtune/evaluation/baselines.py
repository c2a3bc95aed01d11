"""The rivals of a tuned model: a few worked examples in the prompt, and always saying the same."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence

from fewtune.types import Example


def choose_shots(
    train: Sequence[Example], k: int, seed: int, fits: Callable[[Sequence[Example]], bool]
) -> tuple[Example, ...]:
    """At most k worked examples for a few-shot prompt, drawn at random from the training rows.

    Answers that occur more than once are spread: no answer is shown twice before every answer was shown
    once, so a task with labels sees as many of them as k allows. Rows that do not fit even alone are passed
    over, then the last ones are dropped until `fits` holds for the rest; `fits` has to leave room for the
    longest prompt and its answer. Empty where nothing fits.
    """
    shots = _first_that_fit(_spread(train, seed), k, fits)
    while shots and not fits(shots):
        shots.pop()
    return tuple(shots)


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


def _first_that_fit(ordered: Sequence[Example], k: int, fits: Callable[[Sequence[Example]], bool]) -> list[Example]:
    shots: list[Example] = []
    for example in ordered:
        if len(shots) >= k:
            break
        if fits((example,)):
            shots.append(example)
    return shots
