"""What kind of answer the rows ask for."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from fewtune.types import Example

_LONGEST_LABEL_CHARACTERS = 64
_LONGEST_LABEL_WORDS = 5
_ROWS_PER_LABEL = 3
_SHARE_OF_JSON = 0.8


@dataclass(frozen=True, kw_only=True)
class Task:
    kind: Literal["text", "labels", "json"]
    labels: tuple[str, ...] = ()
    """Sorted and distinct after stripping, just as they are written; empty unless the kind is `labels`."""


def recognise(examples: Sequence[Example]) -> Task:
    """Tell the kind of task from the completions that are not blank.

    json: at least 80 % are JSON objects or arrays. labels: all are short (64 characters, five words), and each
    stands for more than three rows on average, case aside. Everything else is text.
    """
    answers = [answer for example in examples if (answer := example.completion.strip())]
    if answers and sum(map(is_json, answers)) >= _SHARE_OF_JSON * len(answers):
        return Task(kind="json")
    if _are_labels(answers):
        return Task(kind="labels", labels=tuple(sorted(set(answers))))
    return Task(kind="text")


def is_json(text: str) -> bool:
    """Whether the text is a JSON object or array."""
    return text.lstrip()[:1] in ("{", "[") and parses_as_json(text)


def parses_as_json(text: str) -> bool:
    """Whether the text is any JSON value."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def usual_spellings(examples: Sequence[Example]) -> Mapping[str, str]:
    """For each label (stripped) the spelling used most among those that differ in case or space alone.

    Between equally frequent spellings the one that comes first wins.
    """
    counts = Counter(label for example in examples if (label := example.completion.strip()))
    usual: dict[str, str] = {}
    for label, _ in counts.most_common():
        usual.setdefault(label_key(label), label)
    return {label: usual[label_key(label)] for label in counts}


def label_key(label: str) -> str:
    """The label without case and white space: equal for labels that are meant to be the same."""
    return "".join(label.split()).casefold()


def _are_labels(answers: Sequence[str]) -> bool:
    distinct = {answer.casefold() for answer in answers}
    return 0 < len(distinct) * _ROWS_PER_LABEL < len(answers) and all(map(_is_short, distinct))


def _is_short(answer: str) -> bool:
    return len(answer) <= _LONGEST_LABEL_CHARACTERS and len(answer.split()) <= _LONGEST_LABEL_WORDS
