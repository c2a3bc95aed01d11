"""Sets rows apart: to fit on, to choose with, to judge by."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from fewtune.data.duplicates import near_duplicates
from fewtune.data.task import Task, label_key
from fewtune.errors import DataError, UsageError
from fewtune.similarity import joined, normalise, numbered
from fewtune.types import Example

_FEWEST_ROWS = 8
_DEFAULT_SHARE = 0.15
_DEFAULT_MOST = 60

_Group = tuple[Example, ...]


@dataclass(frozen=True, kw_only=True)
class Split:
    """Every row in exactly one part, each part in the order of the file."""

    train: tuple[Example, ...]
    """Fitted on."""
    valid: tuple[Example, ...]
    """Chosen with."""
    test: tuple[Example, ...]
    """Judged by."""


def split(
    examples: Sequence[Example],
    task: Task,
    *,
    seed: int,
    valid: float | int | None = None,
    test: float | int | None = None,
) -> Split:
    """Divide the rows by chance; the same rows, task, sizes and seed give the same parts.

    `valid` and `test` are a share of the rows in (0, 0.5], a number of rows, or None for 15 % but at most 60.
    Near-duplicates, and rows with the same prompt, stay in one part; where such groups do not fit, a part is
    smaller than asked for, never larger. For labels the parts mirror the shares of the labels, and each label
    keeps a row in train as far as it can.

    Raises DataError where there are too few rows, or too few that differ; UsageError for an impossible size.
    """
    if len(examples) < _FEWEST_ROWS:
        raise DataError(
            f"{len(examples)} usable row{'' if len(examples) == 1 else 's'} cannot be split: "
            f"at least {_FEWEST_ROWS} are needed to train, choose and judge.",
            where=examples[0].source.file if examples else None,
            fix="Add rows; a hundred or more usually pay off.",
        )
    rows_test, rows_valid = _size("test", test, len(examples)), _size("valid", valid, len(examples))
    if rows_test + rows_valid >= len(examples):
        raise UsageError(
            f"valid ({rows_valid}) and test ({rows_test}) leave none of the {len(examples)} rows to train on.",
            fix="Make them smaller.",
        )
    groups = _shuffled(_groups(examples, task), task, random.Random(seed))
    in_test, groups = _take(groups, rows_test)
    in_valid, in_train = _take(groups, rows_valid)
    if not (in_test and in_valid and in_train):
        raise DataError(
            "Nearly all rows are alike or have the same prompt, so they cannot be divided fairly.",
            where=examples[0].source.file,
            fix="Add rows with other prompts, or check that the right column was taken for the prompt.",
        )
    return Split(train=_in_order(in_train), valid=_in_order(in_valid), test=_in_order(in_test))


def _size(name: str, size: float | int | None, rows: int) -> int:
    if size is None:
        return min(_DEFAULT_MOST, max(1, round(_DEFAULT_SHARE * rows)))
    if isinstance(size, int) and not isinstance(size, bool) and size >= 1:
        return size
    if isinstance(size, float) and 0 < size <= 0.5:
        return max(1, round(size * rows))
    raise UsageError(
        f"{name} cannot be {size!r}.", fix="Give a share of the rows above 0 and up to 0.5, or a number of rows from 1."
    )


def _groups(examples: Sequence[Example], task: Task) -> list[_Group]:
    """What must stay together, in the order of the file."""
    same_prompt = numbered(normalise(example.prompt) for example in examples)
    groups: defaultdict[int, list[Example]] = defaultdict(list)
    for example, number in zip(examples, joined(same_prompt, near_duplicates(examples, task)), strict=True):
        groups[number].append(example)
    return [tuple(group) for group in groups.values()]


def _shuffled(groups: Sequence[_Group], task: Task, chance: random.Random) -> list[_Group]:
    """In random order; for labels such that every stretch mirrors their shares (systematic sampling).

    One group of each label stands at the end, where train is taken from.
    """
    strata: defaultdict[str, list[_Group]] = defaultdict(list)
    for group in groups:
        strata[label_key(group[0].completion) if task.kind == "labels" else ""].append(group)
    places: list[tuple[float, _Group]] = []
    for stratum in strata.values():
        chance.shuffle(stratum)
        start = chance.random()
        places += [((index + start) / len(stratum), group) for index, group in enumerate(stratum[:-1])]
        places.append((1.0 + start, stratum[-1]))
    return [group for _, group in sorted(places, key=lambda place: place[0])]


def _take(groups: Sequence[_Group], rows: int) -> tuple[list[_Group], list[_Group]]:
    """The first groups that fit into so many rows, and the others."""
    taken: list[_Group] = []
    left: list[_Group] = []
    for group in groups:
        if len(group) <= rows:
            taken.append(group)
            rows -= len(group)
        else:
            left.append(group)
    return taken, left


def _in_order(groups: Sequence[_Group]) -> tuple[Example, ...]:
    return tuple(sorted((example for group in groups for example in group), key=lambda example: example.row))
