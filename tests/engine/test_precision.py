from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fewtune.data.encode import Encoded
from fewtune.engine import precision
from fewtune.engine.attention import PackedAttention
from fewtune.engine.base_model import BaseModel, load
from fewtune.engine.continuation import Continuation, Prompt
from fewtune.engine.gradient import Adapters, Share, gradient
from fewtune.engine.likelihood import measure
from fewtune.engine.llama import Llama
from fewtune.engine.lora import Adapter
from fewtune.engine.memory import place
from fewtune.engine.precision import chosen, multiplies_bf16, told
from fewtune.engine.routing import route
from fewtune.engine.sampler import generate
from fewtune.engine.trainer import Event, Progress
from fewtune.engine.training import Training
from fewtune.errors import UsageError
from fewtune.types import Plan

Encode = Callable[[BaseModel], tuple[Encoded, ...]]
InBf16 = Callable[[str], BaseModel]

OURS = ["llama", "mistral", "qwen2", "smollm"]
CPU, CUDA, MPS = (torch.device(name) for name in ("cpu", "cuda", "mps"))
LOSS, SLOPES = 0.02, 0.05
"""Largest difference of a mean loss in nats, and of a gradient as a share of its length; these bases' weights are large
and random. On `pocket` it is 0.003 and 0.015 for a piece."""


class TestChosen:
    @pytest.mark.parametrize(("device", "kept"), [(CPU, "fp32"), (MPS, "fp32"), (CUDA, "bf16")])
    def test_unasked_each_device_keeps_what_it_computes_in(self, device: torch.device, kept: str) -> None:
        assert chosen(None, device) == kept

    def test_bf16_can_be_asked_for_where_there_are_units_for_it(self, bf16_anywhere: None) -> None:
        assert chosen("bf16", CPU) == chosen("bf16", CUDA) == "bf16"

    def test_a_cpu_without_matrix_units_for_bf16_says_what_it_lacks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
        assert not multiplies_bf16()
        with pytest.raises(UsageError, match=r"FEWTUNE_PRECISION: bf16 .* Intel AMX; torch finds none \(amx_bf16\)"):
            chosen("bf16", CPU)
        monkeypatch.delattr(torch.cpu, "get_capabilities")
        assert not multiplies_bf16()

    def test_apples_gpu_says_that_it_is_none(self) -> None:
        with pytest.raises(UsageError, match="this machine computes on mps"):
            chosen("bf16", MPS)

    def test_fp32_on_cuda_is_refused(self) -> None:
        with pytest.raises(UsageError, match=r"FEWTUNE_PRECISION: On CUDA .* in bf16"):
            chosen("fp32", CUDA)

    def test_this_machines_device_is_told_with_its_numbers(self) -> None:
        assert "fp32" in told() or "bf16" in told()

    def test_what_is_used_is_told(self, monkeypatch: pytest.MonkeyPatch, bf16_anywhere: None) -> None:
        monkeypatch.setattr(precision.devices, "best", lambda: CPU)
        monkeypatch.setattr(precision.devices, "cores", lambda: 2)
        assert told() == "CPU, fp32, 2 cores"
        assert told("bf16") == "CPU, bf16 products, 2 cores"


class TestKept:
    @pytest.mark.parametrize("family", OURS)
    def test_matrices_are_in_bf16_and_all_else_in_fp32(self, in_bf16: InBf16, family: str) -> None:
        base = in_bf16(family)
        assert isinstance(base.body, Llama)
        kinds = {
            tensor.ndim: tensor.dtype
            for block in base.body._blocks
            for tensor in vars(block).values()
            if tensor is not None
        }
        assert kinds == {1: torch.float32, 2: torch.bfloat16}
        assert base.body.head.dtype == torch.bfloat16
        assert base.dtype == torch.float32

    def test_a_base_that_is_stored_in_bf16_loses_nothing(self, bf16_anywhere: None) -> None:
        whole, half = load("pocket"), load("pocket", precision="bf16")
        assert torch.equal(half.body.head.float(), whole.body.head)
        assert half.parameters == whole.parameters

    @pytest.mark.parametrize("family", ["gpt2", "stretched llama"])
    def test_a_base_that_runs_in_transformers_is_refused_by_every_door(
        self, folder_of: Callable[[str], Path], family: str, bf16_anywhere: None
    ) -> None:
        base = str(folder_of(family))
        for door in (load, place):
            with pytest.raises(UsageError, match=r"FEWTUNE_PRECISION: .* Llama family; this one, a '\w+', runs in"):
                door(base, precision="bf16")


def likeness(found: np.ndarray, exact: np.ndarray) -> float:
    """Length of the difference as a share of the exact one's."""
    return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))


def slopes(base: BaseModel, adapter: Adapter, examples: Sequence[Encoded]) -> tuple[np.ndarray, float]:
    """Gradient and mean loss of one pass."""
    adapters = Adapters(weights=adapter.flat[None].numpy(), scales=(adapter.scale,), rank=adapter.rank, first=0)
    share = Share(
        slot=0,
        examples=tuple(examples),
        total=float(sum(one.trained_tokens for one in examples)),
        prompt_loss_weight=0.0,
        beta=0.1,
        reference=None,
    )
    found, (outcome,) = gradient(base, adapters, [share])
    return found, outcome.objective


class TestAgainstFp32:
    @pytest.mark.parametrize("family", OURS)
    def test_loss_and_gradient_are_those_of_fp32_but_for_rounding(
        self,
        base_of: Callable[[str], BaseModel],
        in_bf16: InBf16,
        encode: Encode,
        random_adapter: Callable[..., Adapter],
        family: str,
    ) -> None:
        whole, half = base_of(family), in_bf16(family)
        adapter, examples = random_adapter(whole), encode(whole)
        (exact, loss), (found, other) = (slopes(base, adapter, examples) for base in (whole, half))
        assert abs(other - loss) < LOSS * max(1.0, loss)
        assert 0 < likeness(found, exact) < SLOPES

    def test_scores_are_those_of_fp32_but_for_rounding(
        self, llama: BaseModel, in_bf16: InBf16, encode: Encode, random_adapter: Callable[..., Adapter]
    ) -> None:
        half, adapter = in_bf16("llama"), random_adapter(llama)
        for exact, found in zip(*(measure(base, encode(base), adapter) for base in (llama, half)), strict=True):
            assert found.log_likelihoods == pytest.approx(exact.log_likelihoods, rel=0.05, abs=0.1)

    def test_a_training_learns_as_much(
        self,
        llama: BaseModel,
        in_bf16: InBf16,
        begin_training: Callable[..., Training],
        finish: Callable[..., list[Event]],
    ) -> None:
        plan = Plan(learning_rate=1e-2, epochs=4, batch_size=2, rank=4, warmup_steps=2)
        ends: list[float] = []
        for base in (llama, in_bf16("llama")):
            events = finish(base, {"one": begin_training(base, plan)})
            losses = [event.loss for event in events if isinstance(event, Progress)]
            assert losses[-1] < 0.9 * losses[0]
            ends.append(losses[-1])
        assert ends[1] == pytest.approx(ends[0], abs=0.1)

    @pytest.mark.skipif(not multiplies_bf16(), reason="this CPU has no matrix units for bf16 (Intel AMX)")
    def test_with_real_units_the_built_in_base_is_as_near(
        self, encode: Encode, random_adapter: Callable[..., Adapter]
    ) -> None:
        whole, half = load("pocket"), load("pocket", precision="bf16")
        adapter = random_adapter(whole)
        adapter.flat.mul_(0.05)
        (exact, loss), (found, other) = (slopes(base, adapter, encode(base)) for base in (whole, half))
        assert abs(other - loss) < 0.01
        assert 0 < likeness(found, exact) < 0.03


class TestTogether:
    def test_eight_trainings_at_once_equal_each_alone_in_every_bit(
        self,
        in_bf16: InBf16,
        eight: Callable[[BaseModel], dict[str, Training]],
        finish: Callable[..., list[Event]],
    ) -> None:
        base = in_bf16("llama")
        together, alone = eight(base), eight(base)
        events = finish(base, together, 6)
        for name, training in alone.items():
            own = finish(base, {name: training}, 6)
            assert torch.equal(together[name].adapter.flat, training.adapter.flat), name
            assert [event for event in events if isinstance(event, Progress) and event.name == name] == own, name

    def test_adapters_side_by_side_in_one_pass_have_the_gradient_that_each_has_alone_but_for_rounding(
        self, in_bf16: InBf16, encode: Encode, random_adapter: Callable[..., Adapter]
    ) -> None:
        base = in_bf16("llama")
        examples, adapters = encode(base), [random_adapter(base, seed=seed) for seed in (1, 2)]
        shares = [
            Share(slot=slot, examples=part, total=9.0, prompt_loss_weight=0.0, beta=0.1, reference=None)
            for slot, part in enumerate((examples[:3], examples[3:]))
        ]
        whole, _ = gradient(base, _of(adapters), shares)
        for slot, adapter in enumerate(adapters):
            alone, _ = gradient(base, _of([adapter]), [replace(shares[slot], slot=0)])
            assert likeness(whole[slot], alone[0]) < SLOPES


def _of(adapters: Sequence[Adapter]) -> Adapters:
    return Adapters(
        weights=torch.stack([adapter.flat for adapter in adapters]).numpy(),
        scales=tuple(adapter.scale for adapter in adapters),
        rank=adapters[0].rank,
        first=0,
    )


def prompts_of(base: BaseModel, adapters: Sequence[Adapter | None]) -> list[Prompt]:
    texts = ["Capital of France?", "Norway?", "Name the capital of Egypt, please.", "Kenya", "And that of Japan?"]
    return [
        Prompt(id=number, ids=base.encoder.prompt(text), max_tokens=12, adapter=adapter, alternatives=0)
        for number, (text, adapter) in enumerate((text, adapter) for adapter in adapters for text in texts)
    ]


def answers(base: BaseModel, prompts: Sequence[Prompt]) -> Mapping[int, tuple[int, ...]]:
    found = (told for told in generate(base, prompts) if isinstance(told, Continuation))
    return {one.id: tuple(choice.token for choice in one.choices) for one in found}


@torch.inference_mode()
def behind_the_best(base: BaseModel, prompt: Prompt, written: Sequence[int]) -> Iterator[float]:
    """For each written token, how far its logit lies below the highest, in a forward of all before it."""
    ids, length = (*prompt.ids, *written), len(prompt.ids)
    hidden = base.body.states(
        torch.tensor(ids), torch.arange(len(ids)), PackedAttention([len(ids)]), route([prompt.adapter], [len(ids)])
    )
    logits = base.logits(hidden)[length - 1 : -1]
    for row, token in zip(logits, written, strict=True):
        yield float(row.max() - row[token])


class TestAnswers:
    def test_every_token_is_the_most_likely_one_of_a_whole_forward_or_within_a_rounding_of_it(
        self, in_bf16: InBf16, random_adapter: Callable[..., Adapter]
    ) -> None:
        """A logit has 8 binary digits: two may be equal, or change places where attention sums in another order."""
        base = in_bf16("llama")
        prompts = prompts_of(base, [None, random_adapter(base)])
        found = answers(base, prompts)
        behind = [gap for one in prompts for gap in behind_the_best(base, one, found[one.id])]
        assert len(behind) >= 60
        assert max(behind) <= 2**-7 * 16
        assert sum(gap > 0 for gap in behind) <= 0.05 * len(behind)

    def test_a_single_stream_writes_what_many_at_once_write(self, in_bf16: InBf16) -> None:
        base = in_bf16("llama")
        prompts = prompts_of(base, [None])
        alone = {number: tokens for one in prompts for number, tokens in answers(base, [one]).items()}
        agreeing = [one == other for one, other in zip(answers(base, prompts).values(), alone.values(), strict=True)]
        assert sum(agreeing) >= len(agreeing) - 1
