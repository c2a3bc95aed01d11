from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import torch

from fewtune.data.encode import Encoded
from fewtune.engine import likelihood
from fewtune.engine.base_model import BaseModel
from fewtune.engine.likelihood import Likelihood, measure, measure_each
from fewtune.engine.lora import Adapter
from standin import padded
from standin.tiny_models import FAMILIES, MIXTURES

# PEFT asks transformers by an old name.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")

Encode = Callable[[BaseModel], tuple[Encoded, ...]]


@pytest.fixture(params=[*FAMILIES, *MIXTURES])
def family(request: pytest.FixtureRequest) -> str:
    return request.param


def mean_loss(measured: list[Likelihood]) -> float:
    tokens = [value for row in measured for value in row.log_likelihoods]
    return -sum(tokens) / len(tokens)


class TestPackedAgainstPadded:
    def test_the_loss_of_a_batch_is_that_of_a_padded_forward_of_transformers(
        self, base: BaseModel, family: str, folder_of: Callable[[str], Path], encode: Encode
    ) -> None:
        examples = encode(base)
        with torch.no_grad():
            theirs = padded.losses(padded.plain_model(folder_of(family)), examples)
        measured = measure(base, examples)
        for one, found, losses in zip(examples, measured, theirs, strict=True):
            assert found.row == one.row
            assert len(found.greedy) == len(found.log_likelihoods) == one.trained_tokens
            assert [-value for value in found.log_likelihoods] == pytest.approx(losses.tolist(), abs=2e-5)
        # The mean of a batch, next to which a nat's last digit in fp32 is 5e-7.
        assert mean_loss(measured) == pytest.approx(float(torch.cat(theirs).double().mean()), abs=1e-6)

    def test_with_an_adapter_it_is_that_of_a_padded_forward_of_peft(
        self,
        base: BaseModel,
        family: str,
        folder_of: Callable[[str], Path],
        encode: Encode,
        random_adapter: Callable[..., Adapter],
    ) -> None:
        examples, adapter = encode(base), random_adapter(base)
        with torch.no_grad():
            theirs = torch.cat(padded.losses(padded.peft_model(folder_of(family), adapter), examples))
        assert mean_loss(measure(base, examples, adapter)) == pytest.approx(float(theirs.double().mean()), abs=1e-6)


class TestMeasuring:
    def test_neighbours_and_their_order_do_not_change_a_row(self, base: BaseModel, encode: Encode) -> None:
        examples = encode(base)
        forwards = {one.row: one for one in measure(base, examples)}
        for one in measure(base, examples[::-1]):
            assert one.log_likelihoods == pytest.approx(forwards[one.row].log_likelihoods, abs=1e-5)
            assert one.greedy == forwards[one.row].greedy

    def test_on_a_cpu_rows_of_other_adapters_change_no_bit(
        self, llama: BaseModel, encode: Encode, random_adapter: Callable[..., Adapter]
    ) -> None:
        rows, adapters = encode(llama), [random_adapter(llama, seed=1), None, random_adapter(llama, rank=2, seed=2)]
        together = measure_each(llama, [(row, adapter) for adapter in adapters for row in rows])
        assert together == [found for adapter in adapters for found in measure(llama, rows, adapter)]

    def test_a_pass_of_several_adapters_of_any_rank_and_depth_gives_each_row_its_own(
        self,
        base: BaseModel,
        encode: Encode,
        random_adapter: Callable[..., Adapter],
        as_on_a_gpu: Callable[[BaseModel], AbstractContextManager[BaseModel]],
    ) -> None:
        rows = encode(base)
        adapters = [
            random_adapter(base, rank=4, alpha=8, seed=1),
            None,
            random_adapter(base, rank=2, alpha=8, seed=2, top=0.5),
            random_adapter(base, rank=8, alpha=4, seed=3),
        ]
        items = [(row, adapters[number % 4]) for number, row in enumerate(rows + rows)]
        with as_on_a_gpu(base) as fused:
            together = measure_each(fused, items)
        for (row, adapter), found in zip(items, together, strict=True):
            (alone,) = measure(base, [row], adapter)
            assert found.log_likelihoods == pytest.approx(alone.log_likelihoods, abs=2e-5)

    def test_more_than_a_pass_holds_comes_back_whole_and_in_order(
        self, llama: BaseModel, encode: Encode, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rows = encode(llama)
        whole = measure(llama, rows)
        monkeypatch.setattr(likelihood, "TOKENS_AT_ONCE", 30)
        cut = measure(llama, rows)
        assert [one.row for one in cut] == [one.row for one in whole] == list(range(7))
        assert mean_loss(cut) == pytest.approx(mean_loss(whole), abs=1e-6)

    def test_nothing_to_measure_is_nothing(
        self, llama: BaseModel, as_on_a_gpu: Callable[[BaseModel], AbstractContextManager[BaseModel]]
    ) -> None:
        assert measure(llama, []) == []
        with as_on_a_gpu(llama) as fused:
            assert measure(fused, []) == []

    def test_the_most_likely_token_is_the_one_of_highest_logit(
        self, llama: BaseModel, encode: Encode, logits: Callable[..., torch.Tensor]
    ) -> None:
        for row, found in zip(encode(llama), measure(llama, encode(llama)), strict=True):
            best = logits(llama, [row.ids]).argmax(dim=1)[row.prompt_length - 1 : -1]
            assert found.greedy == tuple((best == torch.tensor(row.ids[row.prompt_length :])).tolist())
