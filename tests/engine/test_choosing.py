from __future__ import annotations

from random import Random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fewtune.engine.choosing import Chooser, choose, nucleus


def peaked(rows: int, tokens: int, seed: int = 0, sharpness: float = 3.0) -> torch.Tensor:
    return sharpness * torch.randn(rows, tokens, generator=torch.Generator().manual_seed(seed))


class TestNucleus:
    @given(
        seed=st.integers(0, 10**6),
        tokens=st.sampled_from([1, 3, 64, 65, 300, 5000]),
        top_p=st.floats(1e-3, 0.999),
        sharpness=st.sampled_from([0.0, 0.1, 1.0, 10.0]),
    )
    def test_it_holds_the_share_and_would_not_without_its_least_token(
        self, seed: int, tokens: int, top_p: float, sharpness: float
    ) -> None:
        shares = peaked(2, tokens, seed, sharpness).softmax(dim=1)
        kept, order = nucleus(shares, torch.tensor([[top_p], [top_p / 2]]))
        for row, share in enumerate((top_p, top_p / 2)):
            inside = kept[row][kept[row] > 0]
            assert len(set(order[row].tolist())) == len(order[row])
            assert torch.equal(inside, shares[row][order[row]][: len(inside)])
            assert torch.equal(inside, shares[row].sort(descending=True).values[: len(inside)])
            assert float(inside.sum()) >= share - 1e-5
            assert float(inside[:-1].sum()) < share + 1e-5

    def test_the_most_likely_token_is_kept_whatever_is_asked_for(self) -> None:
        kept, order = nucleus(peaked(1, 100).softmax(dim=1), torch.tensor([[0.0]]))
        assert int((kept > 0).sum()) == 1
        assert int(order[0, 0]) == int(peaked(1, 100).argmax())

    def test_only_its_tokens_are_drawn_and_in_their_proportion(self) -> None:
        logits = torch.tensor([0.5, 0.25, 0.125, 0.0625, 0.0625]).log().repeat(4000, 1)
        choosers = [Chooser(temperature=1.0, top_p=0.7, random=Random(seed)) for seed in range(len(logits))]
        drawn = torch.tensor([choice.token for choice in choose(logits, choosers)]).bincount(minlength=5)
        assert drawn[2:].tolist() == [0, 0, 0]
        # Two thirds, within five standard deviations.
        assert float(drawn[0]) / 4000 == pytest.approx(2 / 3, abs=0.038)


class TestDraws:
    def test_a_row_draws_the_same_wherever_it_stands(self) -> None:
        logits = peaked(6, 500)

        def choosers() -> list[Chooser]:
            return [Chooser(temperature=0.5 * row, top_p=1.0 - 0.2 * (row % 3), random=Random(row)) for row in range(6)]

        together = choose(logits, choosers())
        alone = [choose(logits[row : row + 1], [choosers()[row]])[0] for row in range(6)]
        backwards = choose(logits.flip(0), choosers()[::-1])[::-1]
        assert together == alone == backwards

    def test_a_greedy_row_takes_nothing_from_its_generator(self) -> None:
        random = Random(7)
        choose(peaked(1, 10), [Chooser(random=random)])
        assert random.random() == Random(7).random()

    @pytest.mark.parametrize("top_p", [1.0, 0.999])
    @pytest.mark.parametrize("point", [0.0, 1 - 2**-53])
    def test_a_point_at_either_end_falls_on_a_token_that_has_a_share(self, point: float, top_p: float) -> None:
        class AtOnePoint(Random):
            def random(self) -> float:
                return point

        logits = torch.full((1, 10), -torch.inf)
        logits[0, 3:7] = peaked(1, 4)
        (choice,) = choose(logits, [Chooser(temperature=1.0, top_p=top_p, random=AtOnePoint())])
        assert 3 <= choice.token < 7

    def test_log_likelihoods_are_those_before_temperature_and_nucleus(self) -> None:
        logits = peaked(3, 50)
        choosers = [Chooser(temperature=t, top_p=0.5, alternatives=4, random=Random(3)) for t in (0.0, 0.3, 5.0)]
        table = logits.log_softmax(dim=1)
        for row, choice in enumerate(choose(logits, choosers)):
            assert choice.log_likelihood == float(table[row, choice.token])
            expected = [(int(i), float(table[row, i])) for i in table[row].argsort(descending=True)[:4]]
            assert list(choice.alternatives) == expected

    def test_more_alternatives_than_tokens_are_all_there_are(self) -> None:
        (choice,) = choose(peaked(1, 3), [Chooser(alternatives=20)])
        assert len(choice.alternatives) == 3
