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


@dataclass(frozen=True, kw_only=True)
class Fold:
    """One of k divisions; over all of them every row is judged once."""

    train: tuple[Example, ...]
    judge: tuple[Example, ...]


Size = float | int | None
"""A share of the rows in (0, 0.5], a number of rows, or None for 15 % but at most 60."""


def split(
    examples: Sequence[Example],
    task: Task,
    *,
    seed: int,
    valid: Size = None,
    test: Size = None,
    clusters: Sequence[int] | None = None,
) -> Split:
    """Divide the rows by chance; the same rows, task, sizes and seed give the same parts.

    Near-duplicates (rows with the same number in `clusters`, which is found where it is not given), rows with the
    same prompt and rows of one group stay in one part; where they do not fit, a part is smaller than asked for,
    never larger. For labels the parts mirror the shares of the labels, and each label keeps a row in train as far
    as it can.

    Raises DataError where there are too few rows, or too few that differ; UsageError for an impossible size.
    """
    _check_number(examples)
    rows_test, rows_valid = _size("test", test, len(examples)), _size("valid", valid, len(examples))
    if rows_test + rows_valid >= len(examples):
        raise UsageError(
            f"valid ({rows_valid}) and test ({rows_test}) leave none of the {len(examples)} rows to train on.",
            fix="Make them smaller.",
        )
    groups = _shuffled(_groups(examples, task, clusters), task, random.Random(seed))
    in_test, groups = _take(groups, rows_test)
    in_valid, in_train = _take(groups, rows_valid)
    if not (in_test and in_valid and in_train):
        raise _too_alike(examples)
    return Split(train=_in_order(in_train), valid=_in_order(in_valid), test=_in_order(in_test))


def split_beside(
    examples: Sequence[Example],
    valid: Sequence[Example],
    task: Task,
    *,
    seed: int,
    test: Size = None,
    clusters: Sequence[int] | None = None,
) -> Split:
    """Divide the rows into train and test where the validation rows were given; raises as `split` does."""
    _check_number(examples)
    if not valid:
        raise DataError("No validation row is left.", fix="Check the file that was given for them.")
    groups = _shuffled(_groups(examples, task, clusters), task, random.Random(seed))
    in_test, in_train = _take(groups, _size("test", test, len(examples)))
    if not (in_test and in_train):
        raise _too_alike(examples)
    return Split(train=_in_order(in_train), valid=tuple(valid), test=_in_order(in_test))


def folds(
    examples: Sequence[Example], task: Task, *, k: int, seed: int, clusters: Sequence[int] | None = None
) -> tuple[Fold, ...]:
    """Divide the rows k times, so that each is judged once; what belongs together is judged together.

    Sizes differ by the size of the groups; labels are spread as `split` spreads them. Raises UsageError for fewer
    than two folds or more than there are groups of rows.
    """
    _check_number(examples)
    groups = _shuffled(_groups(examples, task, clusters), task, random.Random(seed))
    if not 2 <= k <= len(groups):
        raise UsageError(
            f"{k} folds cannot be made of {len(examples)} rows in {len(groups)} groups that stay together.",
            fix=f"Give a number from 2 to {len(groups)}.",
        )
    parts: list[list[_Group]] = [[] for _ in range(k)]
    sizes = [0] * k
    for place, group in enumerate(groups):
        # Round robin keeps the labels' shares; of the folds that are level the next one in turn takes the group.
        smallest = min(range(k), key=lambda fold: (sizes[fold], (fold - place) % k))
        parts[smallest].append(group)
        sizes[smallest] += len(group)
    return tuple(
        Fold(
            train=_in_order([group for part in parts if part is not judged for group in part]), judge=_in_order(judged)
        )
        for judged in parts
    )


def leaked(
    train: Sequence[Example], valid: Sequence[Example], task: Task, clusters: Sequence[int] | None = None
) -> tuple[int, ...]:
    """Row numbers in `train` that stand, or nearly stand, in `valid` too; `clusters` is of both, train first."""
    both = [*train, *valid]
    held = {example.row for example in valid}
    mixed = (group for group in _groups(both, task, clusters) if any(one.row in held for one in group))
    return tuple(sorted(example.row for group in mixed for example in group if example.row not in held))


def _check_number(examples: Sequence[Example]) -> None:
    if len(examples) < _FEWEST_ROWS:
        raise DataError(
            f"{len(examples)} usable row{'' if len(examples) == 1 else 's'} cannot be split: "
            f"at least {_FEWEST_ROWS} are needed to train, choose and judge.",
            where=examples[0].source.file if examples else None,
            fix="Add rows; a hundred or more usually pay off.",
        )


def _too_alike(examples: Sequence[Example]) -> DataError:
    return DataError(
        "Nearly all rows are alike, or have the same prompt or group, so they cannot be divided fairly.",
        where=examples[0].source.file,
        fix="Add rows with other prompts, or check that the right column was taken for the prompt.",
    )


def _size(name: str, size: Size, rows: int) -> int:
    if size is None:
        return min(_DEFAULT_MOST, max(1, round(_DEFAULT_SHARE * rows)))
    if isinstance(size, int) and not isinstance(size, bool) and size >= 1:
        return size
    if isinstance(size, float) and 0 < size <= 0.5:
        return max(1, round(size * rows))
    raise UsageError(
        f"{name} cannot be {size!r}.", fix="Give a share of the rows above 0 and up to 0.5, or a number of rows from 1."
    )


def _groups(examples: Sequence[Example], task: Task, clusters: Sequence[int] | None) -> list[_Group]:
    """What must stay together, in the order of the file."""
    same_prompt = numbered(normalise(example.prompt) or example.row for example in examples)
    alike = near_duplicates(examples, task) if clusters is None else clusters
    named = numbered(example.row if example.group is None else f"group {example.group}" for example in examples)
    groups: defaultdict[int, list[Example]] = defaultdict(list)
    for example, number in zip(examples, joined(same_prompt, alike, named), strict=True):
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
