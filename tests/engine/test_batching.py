from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM

from fewtune.data.encode import Encoded
from fewtune.engine import lora
from fewtune.engine.base_model import BaseModel
from fewtune.engine.batching import pack, within_tokens
from fewtune.engine.likelihood import measure, token_losses
from fewtune.engine.lora import Adapter

CPU = torch.device("cpu")


def example(row: int, length: int, prompt_length: int) -> Encoded:
    return Encoded(row=row, ids=tuple(range(10 * row, 10 * row + length)), prompt_length=prompt_length)


def padded_losses(folder: Path, examples: tuple[Encoded, ...]) -> list[torch.Tensor]:
    """The trained tokens' losses by transformers' own eager forward over rows padded on the right."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    width = max(len(one.ids) for one in examples)
    ids = torch.tensor([[*one.ids, *[0] * (width - len(one.ids))] for one in examples])
    mask = torch.tensor([[1] * len(one.ids) + [0] * (width - len(one.ids)) for one in examples])
    with torch.no_grad():
        logits = model(input_ids=ids, attention_mask=mask).logits
    return [
        cross_entropy(
            row[one.prompt_length - 1 : len(one.ids) - 1], torch.tensor(one.ids[one.prompt_length :]), reduction="none"
        )
        for row, one in zip(logits, examples, strict=True)
    ]


class TestPack:
    def test_without_a_prompt_loss_weight_the_targets_are_the_answer_and_its_stop(self) -> None:
        packed = pack([example(0, 5, 3), example(1, 4, 2)], CPU)
        assert packed.targets.tolist() == [3, 4, 12, 13]
        assert packed.weights.tolist() == [1.0] * 4
        assert packed.counts == (2, 2)
        assert packed.trained.all()

    def test_each_target_is_predicted_from_the_token_before_it(self) -> None:
        packed = pack([example(0, 5, 3), example(1, 4, 2)], CPU, 0.5)
        assert torch.equal(packed.ids[packed.sources + 1], packed.targets)

    def test_with_a_prompt_loss_weight_every_token_but_the_first_is_a_target(self) -> None:
        packed = pack([example(0, 5, 3), example(1, 4, 2)], CPU, 0.25)
        assert packed.targets.tolist() == [1, 2, 3, 4, 11, 12, 13]
        assert packed.weights.tolist() == [0.25, 0.25, 1, 1, 0.25, 1, 1]
        assert packed.trained.tolist() == [False, False, True, True, False, True, True]

    def test_positions_begin_anew_with_each_example(self) -> None:
        assert pack([example(0, 3, 1), example(1, 2, 1)], CPU).positions.tolist() == [0, 1, 2, 0, 1]


@given(st.lists(st.integers(1, 30), max_size=20), st.integers(1, 40))
def test_groups_keep_every_example_in_order_and_within_the_limit(lengths: list[int], limit: int) -> None:
    examples = [example(row, length, 1) for row, length in enumerate(lengths)]
    groups = list(within_tokens(examples, limit))
    assert [one for group in groups for one in group] == examples
    assert all(group and (len(group) == 1 or sum(len(one.ids) for one in group) <= limit) for group in groups)


class TestPackedLosses:
    def test_a_packed_example_has_the_loss_that_it_has_alone(
        self,
        base: BaseModel,
        encode: Callable[[BaseModel], tuple[Encoded, ...]],
        random_adapter: Callable[..., Adapter],
    ) -> None:
        examples = encode(base)
        packed = pack(examples, base.device, 0.3)
        with torch.no_grad(), lora.in_use(base, random_adapter(base)):
            together, _ = token_losses(base, packed)
            alone = [token_losses(base, pack([one], base.device, 0.3))[0] for one in examples]
        torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-5)
        means = [part.mean() for part in together.split(packed.counts)]
        torch.testing.assert_close(torch.stack(means), torch.stack([one.mean() for one in alone]), rtol=0, atol=2e-6)

    def test_it_is_the_loss_of_a_padded_forward_of_transformers(
        self,
        base: BaseModel,
        family: str,
        folder_of: Callable[[str], Path],
        encode: Callable[[BaseModel], tuple[Encoded, ...]],
    ) -> None:
        examples = encode(base)
        expected = torch.cat(padded_losses(folder_of(family), examples))
        with torch.no_grad():
            ours, _ = token_losses(base, pack(examples, base.device))
        torch.testing.assert_close(ours, expected, rtol=0, atol=2e-5)

    def test_a_measured_likelihood_is_the_negative_loss_of_answer_and_stop(
        self,
        base: BaseModel,
        family: str,
        folder_of: Callable[[str], Path],
        encode: Callable[[BaseModel], tuple[Encoded, ...]],
    ) -> None:
        examples = encode(base)
        for one, likelihood, losses in zip(
            examples, measure(base, examples), padded_losses(folder_of(family), examples), strict=True
        ):
            assert likelihood.row == one.row
            assert len(likelihood.greedy) == len(likelihood.log_likelihoods) == one.trained_tokens
            assert [-value for value in likelihood.log_likelihoods] == pytest.approx(losses.tolist(), abs=2e-5)

    def test_neighbours_and_their_order_do_not_change_a_row(
        self, llama: BaseModel, encode: Callable[[BaseModel], tuple[Encoded, ...]]
    ) -> None:
        examples = encode(llama)
        forwards = {one.row: one for one in measure(llama, examples)}
        for one in measure(llama, examples[::-1]):
            assert one.log_likelihoods == pytest.approx(forwards[one.row].log_likelihoods, abs=1e-5)
            assert one.greedy == forwards[one.row].greedy
