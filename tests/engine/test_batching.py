from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fewtune.data.encode import Encoded
from fewtune.engine.batching import pack, pieces, within_tokens

CPU = torch.device("cpu")


def example(row: int, length: int, prompt_length: int) -> Encoded:
    return Encoded(row=row, ids=tuple(range(10 * row, 10 * row + length)), prompt_length=prompt_length)


class TestPack:
    def test_the_targets_are_answers_and_stops(self) -> None:
        packed = pack([example(0, 5, 3), example(1, 4, 2)], CPU)
        assert packed.targets.tolist() == [3, 4, 12, 13]
        assert packed.counts == (2, 2)
        assert packed.answers.all()
        assert (packed.rows, packed.lengths) == ((0, 1), (5, 4))

    def test_each_target_is_predicted_from_the_token_before_it(self) -> None:
        packed = pack([example(0, 5, 3), example(1, 4, 2)], CPU, prompts=True)
        assert torch.equal(packed.ids[packed.sources + 1], packed.targets)

    def test_with_prompts_every_token_but_each_first_is_a_target(self) -> None:
        packed = pack([example(0, 5, 3), example(1, 4, 2)], CPU, prompts=True)
        assert packed.targets.tolist() == [1, 2, 3, 4, 11, 12, 13]
        assert packed.answers.tolist() == [False, False, True, True, False, True, True]
        assert packed.counts == (4, 3)

    def test_gaps_between_answers_are_no_targets(self) -> None:
        two = replace(example(1, 8, 2), gaps=((3, 5), (6, 7)))
        packed = pack([example(0, 5, 3), two], CPU)
        assert packed.targets.tolist() == [3, 4, 12, 15, 17]
        assert packed.counts == (2, two.trained_tokens) == (2, 3)
        assert packed.answers.all()
        assert torch.equal(packed.ids[packed.sources + 1], packed.targets)

    def test_with_prompts_gaps_are_targets_that_are_no_answers(self) -> None:
        two = replace(example(1, 8, 2), gaps=((3, 5), (6, 7)))
        packed = pack([two, example(0, 3, 1)], CPU, prompts=True)
        assert packed.targets.tolist() == [11, 12, 13, 14, 15, 16, 17, 1, 2]
        assert packed.answers.tolist() == [False, True, False, False, True, False, True, True, True]
        assert packed.counts == (7, 2)

    def test_positions_begin_anew_with_each_example(self) -> None:
        assert pack([example(0, 3, 1), example(1, 2, 1)], CPU).positions.tolist() == [0, 1, 2, 0, 1]


LENGTHS = st.lists(st.integers(1, 900), max_size=20)


@given(st.lists(st.integers(1, 30), max_size=20), st.integers(1, 40))
def test_groups_keep_every_example_in_order_and_within_the_limit(lengths: list[int], limit: int) -> None:
    examples = [example(row, length, 1) for row, length in enumerate(lengths)]
    groups = list(within_tokens(examples, limit))
    assert [one for group in groups for one in group] == examples
    assert all(group and (len(group) == 1 or sum(len(one.ids) for one in group) <= limit) for group in groups)


class TestPieces:
    @given(LENGTHS.filter(bool))
    def test_a_batch_is_cut_into_parts_that_have_each_example_once_and_are_never_empty(
        self, lengths: list[int]
    ) -> None:
        batch = [example(row, length, 1) for row, length in enumerate(lengths)]
        parts = pieces(batch)
        assert sorted(one.row for part in parts for one in part) == [one.row for one in batch]
        assert all(parts)

    @given(LENGTHS.filter(bool))
    def test_no_part_is_longer_than_the_shortest_by_more_than_one_example(self, lengths: list[int]) -> None:
        sizes = [sum(len(one.ids) for one in part) for part in pieces([example(0, length, 1) for length in lengths])]
        assert max(sizes) - min(sizes) <= max(lengths)

    @pytest.mark.parametrize(
        ("lengths", "count"), [([5], 1), ([5, 5], 2), ([40] * 8, 2), ([91] * 8, 2), ([110] * 8, 4), ([256] * 8, 8)]
    )
    def test_a_small_batch_makes_work_for_two_and_a_large_one_for_more(self, lengths: list[int], count: int) -> None:
        assert len(pieces([example(0, length, 1) for length in lengths])) == count
