from __future__ import annotations

import math

import pytest

from fewtune.errors import UsageError
from fewtune.search.folds import Finalist, Repeat, check_folds, default_folds, finalists, pooled, repeats
from fewtune.search.reading import Reading


def read(candidate: int, epochs: int, score: float) -> Reading:
    return Reading(candidate=candidate, epochs=epochs, score=score)


def test_few_validation_rows_get_five_folds() -> None:
    assert (default_folds(59), default_folds(60)) == (5, 3)


def test_finalists_are_the_best_candidates_each_at_its_best_length() -> None:
    told = [read(0, 1, 0.5), read(0, 2, 0.3), read(0, 4, 0.4), read(1, 2, 0.2), read(2, 2, 0.9), read(3, 2, math.nan)]
    assert finalists(told, (2, 4)) == (Finalist(candidate=1, epochs=2), Finalist(candidate=0, epochs=2))


def test_finalists_are_not_chosen_at_lengths_that_nobody_asked_about() -> None:
    assert finalists([read(0, 3, 0.1), read(0, 4, 0.2)], (4,)) == (Finalist(candidate=0, epochs=4),)


def test_repeats_leave_out_what_the_rungs_have_trained() -> None:
    wanted = repeats([Finalist(candidate=3, epochs=4)], folds=2, seeds=(7, 8))
    assert [(one.fold, one.seed) for one in wanted] == [(0, 8), (1, 7), (1, 8)]
    assert wanted[0] == Repeat(candidate=3, epochs=4, fold=0, seed=8)


def test_seeds_are_averaged_row_by_row_and_folds_stand_side_by_side() -> None:
    scores = {(1, 7): [3.0], (0, 7): [1.0, 2.0], (0, 8): [3.0, 4.0]}
    assert pooled(scores) == ((2.0, 3.0, 3.0), (0, 0, 1))


@pytest.mark.parametrize(("folds", "message"), [(30, r"20 rows.*Use --folds 5"), (1, r"Use --folds 2")])
def test_folds_that_cannot_be_made_are_refused(folds: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_folds(folds, 20)
