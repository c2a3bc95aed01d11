from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fewtune.data.duplicates import near_duplicates
from fewtune.data.split import Split, folds, leaked, split, split_beside
from fewtune.data.task import Task
from fewtune.errors import DataError, UsageError
from fewtune.similarity import normalise
from fewtune.types import Example

MakeExamples = Callable[[list[tuple[str, str]]], tuple[Example, ...]]
TEXT, LABELS = Task(kind="text"), Task(kind="labels")


def distinct(rows: int) -> list[tuple[str, str]]:
    digests = [hashlib.sha256(bytes([row % 256, row // 256])).hexdigest() for row in range(rows)]
    return [(digest[:32], digest[32:]) for digest in digests]


def sizes(parts: Split) -> tuple[int, int, int]:
    return len(parts.train), len(parts.valid), len(parts.test)


@pytest.mark.parametrize(("rows", "held"), [(8, 1), (20, 3), (300, 45), (400, 60), (900, 60)])
def test_each_held_out_part_has_fifteen_percent_but_at_most_sixty_rows(
    examples: MakeExamples, rows: int, held: int
) -> None:
    assert sizes(split(examples(distinct(rows)), TEXT, seed=0)) == (rows - 2 * held, held, held)


def test_sizes_can_be_shares_or_numbers_of_rows(examples: MakeExamples) -> None:
    assert sizes(split(examples(distinct(40)), TEXT, seed=0, valid=0.25, test=7)) == (23, 10, 7)
    assert sizes(split(examples(distinct(40)), TEXT, seed=0, valid=0.001, test=1)) == (38, 1, 1)


@pytest.mark.parametrize("size", [0, -1, 0.0, 0.51, 1.0, float("nan"), True])
def test_an_impossible_size_is_refused(examples: MakeExamples, size: float) -> None:
    with pytest.raises(UsageError, match="test cannot be"):
        split(examples(distinct(40)), TEXT, seed=0, test=size)


def test_parts_that_leave_nothing_to_train_on_are_refused(examples: MakeExamples) -> None:
    with pytest.raises(UsageError, match="leave none of the 40 rows"):
        split(examples(distinct(40)), TEXT, seed=0, valid=20, test=0.5)


@pytest.mark.parametrize("rows", [0, 1, 7])
def test_too_few_rows_are_told_with_the_number_needed(examples: MakeExamples, rows: int) -> None:
    with pytest.raises(DataError, match="at least 8 are needed"):
        split(examples(distinct(rows)), TEXT, seed=0)


def test_rows_that_are_all_alike_cannot_be_divided(examples: MakeExamples) -> None:
    with pytest.raises(DataError, match="alike"):
        split(examples([("Write a poem.", f"{row * 7919:b}") for row in range(20)]), TEXT, seed=0)


def test_the_seed_alone_decides(examples: MakeExamples) -> None:
    rows = examples(distinct(50))
    assert split(rows, TEXT, seed=3) == split(rows, TEXT, seed=3)
    assert len({split(rows, TEXT, seed=seed).test for seed in range(5)}) == 5


def test_parts_mirror_the_shares_of_the_labels_and_train_has_every_label(examples: MakeExamples) -> None:
    labels = ["common"] * 120 + ["usual"] * 60 + ["rare"] * 20 + ["single"]
    rows = examples([(prompt, label) for (prompt, _), label in zip(distinct(201), labels, strict=True)])
    for seed in range(5):
        parts = split(rows, LABELS, seed=seed, valid=40, test=40)
        for part in (parts.valid, parts.test):
            counts = Counter(example.completion for example in part)
            assert abs(counts["common"] - 24) <= 1 and abs(counts["usual"] - 12) <= 1 and abs(counts["rare"] - 4) <= 1
        assert {example.completion for example in parts.train} == set(labels)


WORDS = st.sampled_from(["red", "green", "Red!", "a long blue door", "a long  blue door.", "seven", "eight", "lamp"])
PROMPTS = st.lists(WORDS, min_size=1, max_size=3).map(" ".join)


@settings(deadline=None)
@given(
    pairs=st.lists(st.tuples(PROMPTS, WORDS), min_size=8, max_size=40),
    kind=st.sampled_from(["text", "labels", "json"]),
    seed=st.integers(),
    size=st.none() | st.integers(1, 3) | st.floats(0.05, 0.4),
)
def test_every_row_is_in_one_part_and_nothing_alike_is_in_two(
    examples: MakeExamples, pairs: list[tuple[str, str]], kind: str, seed: int, size: float | None
) -> None:
    rows, task = examples(pairs), Task(kind=kind)  # pyright: ignore[reportArgumentType]
    try:
        parts = split(rows, task, seed=seed, valid=size, test=size)
    except DataError:
        assume(False)
        return
    everywhere = (parts.train, parts.valid, parts.test)
    assert sorted(example.row for part in everywhere for example in part) == list(range(len(rows)))
    assert all(part == tuple(sorted(part, key=lambda example: example.row)) and part for part in everywhere)
    clusters = near_duplicates(rows, task)
    for key in (lambda example: clusters[example.row], lambda example: normalise(example.prompt)):
        train, valid, test = ({key(example) for example in part} for part in everywhere)
        assert not (train & valid or train & test or valid & test)


def test_rows_of_one_group_stay_in_one_part(examples: MakeExamples) -> None:
    rows = tuple(replace(row, group=f"patient {row.row % 7}") for row in examples(distinct(70)))
    for seed in range(5):
        parts = split(rows, TEXT, seed=seed, valid=10, test=10)
        train, valid, test = ({row.group for row in part} for part in (parts.train, parts.valid, parts.test))
        assert not (train & valid or train & test or valid & test)
        assert sizes(parts) == (50, 10, 10)


def test_rows_without_prompts_are_not_one_group(examples: MakeExamples) -> None:
    rows = examples([("", answer) for _, answer in distinct(40)])
    assert sizes(split(rows, TEXT, seed=0)) == (28, 6, 6)


def test_over_all_folds_every_row_is_judged_once_and_never_trained_beside_its_judging(examples: MakeExamples) -> None:
    labels = ["common"] * 40 + ["usual"] * 20 + ["rare"] * 5
    rows = examples([(prompt, label) for (prompt, _), label in zip(distinct(65), labels, strict=True)])
    parts = folds(rows, LABELS, k=5, seed=1)
    assert sorted(row.row for fold in parts for row in fold.judge) == list(range(65))
    for fold in parts:
        assert sorted(row.row for row in (*fold.train, *fold.judge)) == list(range(65))
        counts = Counter(row.completion for row in fold.judge)
        assert len(fold.judge) == 13 and abs(counts["common"] - 8) <= 1 and abs(counts["rare"] - 1) <= 1


def test_folds_keep_groups_and_near_duplicates_together(examples: MakeExamples) -> None:
    rows = examples([(f"{text} Please answer soon, thank you very much", "yes") for text, _ in distinct(30)] * 2)
    for fold in folds(rows, TEXT, k=3, seed=0):
        assert not {row.prompt for row in fold.train} & {row.prompt for row in fold.judge}


@pytest.mark.parametrize("k", [0, 1, 41])
def test_an_impossible_number_of_folds_names_the_possible_ones(examples: MakeExamples, k: int) -> None:
    with pytest.raises(UsageError, match="from 2 to 40"):
        folds(examples(distinct(40)), TEXT, k=k, seed=0)


def test_a_training_row_that_nearly_stands_in_the_validation_file_is_found(examples: MakeExamples) -> None:
    rows = examples([*distinct(20), ("Where is my parcel? It was due on Monday.", "a")])
    held = tuple(
        replace(row, row=100 + row.row) for row in examples([("where is my parcel?? it was due on Monday", "b")])
    )
    assert leaked(rows, held, LABELS) == (20,)
    assert leaked(rows[:20], held, LABELS) == ()


def test_given_validation_rows_are_taken_as_they_are(examples: MakeExamples) -> None:
    rows = examples(distinct(40))
    parts = split_beside(rows[:30], rows[30:], TEXT, seed=0, test=6)
    assert parts.valid == rows[30:] and len(parts.test) == 6 and len(parts.train) == 24
    with pytest.raises(DataError, match="No validation row"):
        split_beside(rows, (), TEXT, seed=0)
