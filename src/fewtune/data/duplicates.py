"""Which rows say nearly the same, so that they count as one when rows are set apart."""

from __future__ import annotations

from collections.abc import Sequence

from fewtune.data.task import Task
from fewtune.similarity import clusters, joined
from fewtune.types import Example

_ODD = 20
"""One text in so many, at each end of the alphabet, may begin otherwise."""


def near_duplicates(examples: Sequence[Example], task: Task) -> tuple[int, ...]:
    """Give each row the number of its cluster, from 0 in order of appearance.

    Rows whose prompts are nearly the same share a cluster; where the answers are free text, so do rows that
    are nearly the same as a whole. What nine in ten prompts begin or end with does not count: an instruction
    repeated in every row makes no rows alike.
    """
    prompts = _without_common_ends([example.prompt for example in examples])
    by_prompt = clusters(prompts)
    if task.kind != "text":
        return by_prompt
    wholes = [f"{prompt}\n{example.completion}" for prompt, example in zip(prompts, examples, strict=True)]
    return joined(by_prompt, clusters(wholes))


def _without_common_ends(texts: Sequence[str]) -> list[str]:
    """The texts without the whole words that nearly all of them begin with and end with."""
    backwards = [text[::-1] for text in _without_common_start(texts)]
    return [text[::-1] for text in _without_common_start(backwards)]


def _without_common_start(texts: Sequence[str]) -> list[str]:
    """The texts from behind the last white space of what nine in ten of them begin with."""
    ordered, odd = sorted(texts), len(texts) // _ODD
    # In alphabetical order, what two texts begin with is what all between them begin with.
    first, last = (ordered[odd], ordered[-1 - odd]) if texts else ("", "")
    if first == last:
        return list(texts)
    shared = next((place for place, letter in enumerate(first) if letter != last[place]), len(first))
    start = first[: next((place for place in range(shared, 0, -1) if first[place - 1].isspace()), 0)]
    return [text.removeprefix(start) for text in texts]
