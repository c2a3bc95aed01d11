from __future__ import annotations

from collections.abc import Callable, Sequence

from fewtune.evaluation.baselines import Neighbours, choose_shots, majority_answer
from fewtune.types import Example, Source


def examples(*completions: str) -> list[Example]:
    return [
        Example(row=row, prompt=f"prompt {row}", completion=completion, source=Source(file="data.csv", line=row + 2))
        for row, completion in enumerate(completions)
    ]


def anything_fits(_: Sequence[Example]) -> bool:
    return True


def at_most(characters: int) -> Callable[[Sequence[Example]], bool]:
    def fits(shots: Sequence[Example]) -> bool:
        return sum(len(shot.completion) for shot in shots) <= characters

    return fits


def test_the_same_seed_chooses_the_same_shots_and_another_seed_others() -> None:
    rows = examples(*(f"story {number}" for number in range(50)))
    assert choose_shots(rows, 4, 1, anything_fits) == choose_shots(rows, 4, 1, anything_fits)
    assert choose_shots(rows, 4, 1, anything_fits) != choose_shots(rows, 4, 2, anything_fits)


def test_shots_are_distinct_training_rows() -> None:
    rows = examples(*(f"story {number}" for number in range(10)))
    shots = choose_shots(rows, 8, 0, anything_fits)
    assert len({shot.row for shot in shots}) == 8
    assert all(shot in rows for shot in shots)


def test_every_label_is_shown_once_before_any_is_shown_twice() -> None:
    rows = examples(*["common"] * 40, "rare", "billing", "delivery")
    for seed in range(10):
        assert {shot.completion for shot in choose_shots(rows, 4, seed, anything_fits)} == {
            "common",
            "rare",
            "billing",
            "delivery",
        }


def test_fewer_shots_are_taken_until_they_fit() -> None:
    rows = examples("a" * 10, "b" * 10, "c" * 10, "d" * 10)
    assert len(choose_shots(rows, 4, 0, at_most(25))) == 2


def test_one_row_that_is_too_long_does_not_cost_the_others() -> None:
    rows = examples("a" * 100, "b" * 10, "c" * 10)
    for seed in range(5):
        assert {shot.row for shot in choose_shots(rows, 2, seed, at_most(20))} == {1, 2}


def test_nothing_is_chosen_where_nothing_fits_or_nothing_is_asked_for() -> None:
    assert choose_shots(examples("aaaa"), 3, 0, at_most(2)) == ()
    assert choose_shots(examples("aaaa"), 0, 0, anything_fits) == ()
    assert choose_shots([], 3, 0, anything_fits) == ()


def test_no_more_shots_are_chosen_than_there_are_rows() -> None:
    assert len(choose_shots(examples("a", "b"), 8, 0, anything_fits)) == 2


def test_the_majority_answer_is_the_most_frequent_one() -> None:
    assert majority_answer(examples("billing", " delivery", "delivery", "other")) == "delivery"


def test_there_is_no_majority_where_every_answer_is_different_or_missing() -> None:
    assert majority_answer(examples("one", "two")) is None
    assert majority_answer([]) is None


def asked(*prompts: str) -> list[Example]:
    return [
        Example(row=row, prompt=prompt, completion=f"answer {row}", source=Source(file="data.csv", line=row + 2))
        for row, prompt in enumerate(prompts)
    ]


def test_the_nearest_shots_are_those_that_share_rare_words_and_the_nearest_stands_last() -> None:
    rows = asked("the red lamp", "the dog and the cat", "the red lamp in the hall", "the sea", "the hall")
    shots = Neighbours(rows).shots("Where is the red lamp of the hall?", 2, anything_fits)
    assert [shot.row for shot in shots] == [0, 2]


def test_of_the_nearest_shots_the_farthest_are_left_out_until_they_fit() -> None:
    rows = asked("lamp red hall", "lamp red", "lamp", "sea")
    shots = Neighbours(rows).shots("lamp red hall", 3, at_most(16))
    assert [shot.row for shot in shots] == [1, 0]


def test_the_nearest_answer_is_the_completion_of_the_nearest_prompt() -> None:
    assert Neighbours(asked("the sea", "A LAMP!", "the dog")).answer("which lamp, please?") == "answer 1"


def test_prompts_that_share_no_word_still_get_the_first_answer() -> None:
    assert Neighbours(asked("the sea", "the dog")).answer("???") == "answer 0"
    assert Neighbours(asked("!", "?")).answer("…") == "answer 0"
