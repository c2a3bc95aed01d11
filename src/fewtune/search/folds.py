"""The last rung again on other folds and seeds: more trials of the same sweep, for the few that are left."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from fewtune.errors import UsageError
from fewtune.search.reading import Reading, curves, has_failed

FEW_ROWS = 60
"""Validation rows below which one split is too little to choose with."""
FOLDS, FOLDS_OF_MANY = 5, 3
FINALISTS = 2


@dataclass(frozen=True, kw_only=True)
class Finalist:
    candidate: int
    epochs: int
    """Where its score was lowest; there is no reason to train it further."""


@dataclass(frozen=True, kw_only=True)
class Repeat:
    """One training of a finalist on one fold with one seed."""

    candidate: int
    epochs: int
    fold: int
    seed: int


def default_folds(valid_rows: int) -> int:
    """5 below 60 validation rows; from there on the first 3 of them, since more rows leave less to chance."""
    return FOLDS if valid_rows < FEW_ROWS else FOLDS_OF_MANY


def check_folds(folds: int, rows: int) -> None:
    """Raises UsageError for fewer than two folds, and for more folds than rows."""
    if folds < 2:
        raise UsageError(f"--folds has {folds}, and one part alone leaves nothing to train on.", fix="Use --folds 2.")
    if folds > rows:
        raise UsageError(f"--folds has {folds}, and there are {rows} rows.", fix=f"Use --folds {min(rows, FOLDS)}.")


def finalists(readings: Sequence[Reading], epochs: Collection[int], count: int = FINALISTS) -> tuple[Finalist, ...]:
    """The candidates with the lowest readings, best first, each with the epochs of its lowest one.

    Only `epochs` are looked at: the lengths that the sweep was asked about.
    """
    best: list[Reading] = []
    for found in curves(readings).values():
        asked = [one for one in found if one.epochs in epochs]
        if asked and not has_failed(asked):
            best.append(min(asked, key=lambda one: (one.standing, one.epochs)))
    best.sort(key=lambda one: (one.standing, one.candidate))
    return tuple(Finalist(candidate=one.candidate, epochs=one.epochs) for one in best[:count])


def repeats(
    chosen: Iterable[Finalist], *, folds: int, seeds: Sequence[int], done: Collection[tuple[int, int]] = ((0, 0),)
) -> tuple[Repeat, ...]:
    """Every finalist on every fold with every seed, but for what the rungs have trained already.

    `done` holds those pairs of fold and place of the seed; by default the rungs ran on the first fold with the first
    seed.
    """
    return tuple(
        Repeat(candidate=one.candidate, epochs=one.epochs, fold=fold, seed=seed)
        for one in chosen
        for fold in range(folds)
        for place, seed in enumerate(seeds)
        if (fold, place) not in done
    )


def pooled(scores: Mapping[tuple[int, int], Sequence[float]]) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """The rows of one plan over all folds, each the mean over its seeds, and the fold of each row.

    `scores` are row scores by fold and seed; a fold's seeds have the same rows in the same order.
    """
    rows: list[float] = []
    groups: list[int] = []
    for fold in sorted({fold for fold, _ in scores}):
        found = [values for (one, _), values in sorted(scores.items(), key=lambda item: item[0]) if one == fold]
        rows += [fmean(values) for values in zip(*found, strict=True)]
        groups += [fold] * len(found[0])
    return tuple(rows), tuple(groups)
