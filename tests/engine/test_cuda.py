"""What only a GPU can show; elsewhere tests step as a GPU does, with the CPU's operations (`as_on_a_gpu`)."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fewtune.bases.folder import describe
from fewtune.data.encode import Encoded
from fewtune.engine import fused, losses
from fewtune.engine.attention import PackedAttention
from fewtune.engine.base_model import BaseModel, load
from fewtune.engine.continuation import Continuation, Prompt
from fewtune.engine.gradient import Adapters, Share, gradient
from fewtune.engine.head import target_losses
from fewtune.engine.likelihood import measure
from fewtune.engine.llama import Llama
from fewtune.engine.lora import Adapter
from fewtune.engine.memory import forecast, place, work
from fewtune.engine.operations import rms_norm
from fewtune.engine.sampler import generate
from fewtune.engine.trainer import Event, Progress, train
from fewtune.engine.training import Task, Training, begin
from fewtune.types import Plan
from standin.tiny_models import save_model
from standin.trials import distance

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

Encode = Callable[[BaseModel], tuple[Encoded, ...]]
Eight = Callable[[BaseModel], dict[str, Training]]
CUDA = torch.device("cuda")
ROUGH = 3e-2
"""How far bf16 may be from fp32, as a share of a whole tensor: it keeps two to three digits."""


@pytest.fixture(params=["llama", "qwen2", "gpt2", "gemma3"])
def some_family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def in_fp32(folder_of: Callable[[str], Path]) -> BaseModel:
    """The llama on CUDA without bf16's rounding, which would hide what is wrong."""
    folder = folder_of("llama")
    base = load(str(folder))
    return replace(base, body=Llama(folder, describe(str(folder)), CUDA, torch.float32))


@pytest.fixture
def on_cpu(folder_of: Callable[[str], Path], some_family: str, monkeypatch: pytest.MonkeyPatch) -> BaseModel:
    """The same base as `some_base`, in fp32 on the CPU."""
    with monkeypatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        return load(str(folder_of(some_family)))


def error(ours: Tensor, exact: Tensor) -> float:
    exact = exact.double().cpu()
    return float((ours.double().cpu() - exact).norm() / exact.norm())


@pytest.mark.parametrize("window", [None, 5])
@pytest.mark.parametrize("key_heads", [4, 2, 1])
def test_one_kernel_attends_inside_each_example_as_plain_attention_does(window: int | None, key_heads: int) -> None:
    lengths, generator = [1, 40, 7, 130], torch.Generator().manual_seed(0)
    heads, total = 4, sum(lengths)
    exact = [torch.randn(total, count, 64, generator=generator) for count in (heads, key_heads, key_heads)]
    slope = torch.randn(total, heads, 64, generator=generator)

    def run(states: Sequence[Tensor], slope: Tensor) -> list[Tensor]:
        leaves = [part.detach().requires_grad_() for part in states]
        mixed = PackedAttention(lengths)(0, *leaves, None, window)
        return [mixed.detach(), *torch.autograd.grad((mixed * slope).sum(), leaves)]

    rough = run([part.to(CUDA, torch.bfloat16) for part in exact], slope.to(CUDA, torch.bfloat16))
    for ours, expected in zip(rough, run(exact, slope), strict=True):
        assert ours.dtype == torch.bfloat16
        assert error(ours, expected) < ROUGH


def test_norm_and_loss_in_bf16_are_close_to_those_in_fp32() -> None:
    generator = torch.Generator().manual_seed(0)
    x, weight = torch.randn(70, 64, generator=generator), torch.randn(64, generator=generator)
    head, targets = torch.randn(5000, 64, generator=generator) / 8, torch.arange(70)
    found: list[list[Tensor]] = []
    for device, dtype in ((CUDA, torch.bfloat16), (torch.device("cpu"), torch.float32)):
        leaf = x.to(device, dtype).requires_grad_()
        normal = rms_norm(leaf, weight.to(device, dtype), 1e-6)
        losses, _ = target_losses(normal, head.to(device, dtype), None, targets.to(device))
        found.append([normal.detach(), losses.detach(), *torch.autograd.grad(losses.mean(), leaf)])
    for ours, expected in zip(*found, strict=True):
        assert error(ours, expected) < ROUGH


def test_the_kernels_compute_what_torch_does() -> None:
    found = fused.differences(CUDA)
    print({name: f"{one:.1e}" for name, one in found.items()})
    assert max(found.values()) < 1e-2
    assert fused.works()
    assert max(fused.differences(CUDA, torch.float32).values()) < 1e-4


def test_every_family_gives_the_likelihoods_that_it_gives_on_the_cpu(
    some_base: BaseModel, on_cpu: BaseModel, encode: Encode, random_adapter: Callable[..., Adapter]
) -> None:
    assert some_base.dtype == torch.bfloat16
    rows = encode(some_base)
    for ours, exact in ((None, None), (random_adapter(some_base, alpha=1), random_adapter(on_cpu, alpha=1))):
        pairs = zip(measure(some_base, rows, ours), measure(on_cpu, rows, exact), strict=True)
        for rough, expected in pairs:
            told, wanted = (torch.tensor(one.log_likelihoods) for one in (rough, expected))
            assert error(told, wanted) < 2 * ROUGH


def assert_trained_alike(together: dict[str, Training], alone: dict[str, Training], limit: float) -> None:
    distances = {name: distance(together[name], training) for name, training in alone.items()}
    print({name: f"{found:.1e}" for name, found in distances.items()})
    assert max(distances.values()) < limit, distances


class TestTogether:
    def test_eight_trainings_come_to_what_each_comes_to_alone(
        self, in_fp32: BaseModel, eight: Eight, finish: Callable[..., list[Event]]
    ) -> None:
        together, alone = eight(in_fp32), eight(in_fp32)
        finish(in_fp32, together, 20)
        for name, training in alone.items():
            finish(in_fp32, {name: training}, 20)
        assert_trained_alike(together, alone, 1e-3)

    def test_in_bf16_company_moves_a_training_no_further_than_rounding_does(
        self, base_of: Callable[[str], BaseModel], in_fp32: BaseModel, eight: Eight, finish: Callable[..., list[Event]]
    ) -> None:
        base = base_of("llama")
        together, alone, exact = eight(base), eight(base), eight(in_fp32)
        events = finish(base, together, 20)
        for name, training in alone.items():
            own = losses_of(name, finish(base, {name: training}, 20))
            without_rounding = losses_of(name, finish(in_fp32, {name: exact[name]}, 20))
            company, rounding = distance(together[name], training), distance(training, exact[name])
            moved, rounded = off(losses_of(name, events), own), off(own, without_rounding)
            print(f"{name}: adapter {company:.1e} of {rounding:.1e}, losses {max(moved):.1e} of {max(rounded):.1e}")
            assert company < max(1e-3, 2 * rounding), name
            # The first steps agree; later a high rate makes as much of company's rounding as of any other.
            assert max(moved[:5]) < 0.1, name
            assert max(moved) < max(0.1, 2 * max(rounded)), name

    def test_a_replayed_pass_gives_what_it_gave_when_it_was_recorded(
        self, base_of: Callable[[str], BaseModel], encode: Encode, random_adapter: Callable[..., Adapter]
    ) -> None:
        base = base_of("llama")
        rows = encode(base)
        weights = torch.stack([random_adapter(base, seed=seed).flat for seed in range(3)])
        adapters = Adapters(weights=weights, scales=(1.5, 0.5, 2.0), rank=4, first=0)
        batches = [rows[:6], rows[1:7], rows[6:] + rows[:5], rows[:6]]
        plain = replace(base)
        plain.__dict__["recordings"] = None
        for batch in (*batches, *batches[::-1]):
            shares = [texts(slot, batch[2 * slot : 2 * slot + 2]) for slot in range(3)]
            (ours, told), (expected, exact) = gradient(base, adapters, shares), gradient(plain, adapters, shares)
            assert error(ours, expected) < 2 * ROUGH
            assert [one.objective for one in told] == pytest.approx([one.objective for one in exact], rel=ROUGH)
            weights += 0.01
        recordings = base.recordings
        assert recordings and not recordings.off
        assert recordings.sizes

    @pytest.mark.filterwarnings("always::UserWarning")
    def test_a_pass_waits_for_the_device_as_often_for_six_as_for_one(
        self, base_of: Callable[[str], BaseModel], encode: Encode, random_adapter: Callable[..., Adapter]
    ) -> None:
        base = base_of("llama")
        rows = encode(base)

        def waits(count: int) -> list[str]:
            weights = torch.stack([random_adapter(base, seed=seed).flat for seed in range(count)])
            adapters = Adapters(weights=weights, scales=(1.5,) * count, rank=4, first=0)
            shares = [texts(slot, rows[slot : slot + 2]) for slot in range(count)]
            # Computed, then recorded; from here on it is replayed.
            gradient(base, adapters, shares)
            gradient(base, adapters, shares)
            with warnings.catch_warnings(record=True) as seen:
                torch.cuda.set_sync_debug_mode("warn")
                gradient(base, adapters, shares)
                torch.cuda.set_sync_debug_mode("default")
            # The mode itself is announced as well, when it is first set.
            return [str(one.message) for one in seen if "called a synchronizing" in str(one.message)]

        assert waits(6) == waits(1)
        assert len(waits(1)) <= 2


def losses_of(name: str, events: Sequence[Event]) -> list[float]:
    return [event.loss for event in events if isinstance(event, Progress) and event.name == name]


def off(some: Sequence[float], others: Sequence[float]) -> list[float]:
    """How far each loss is from the other, as a share of it, or in nats below 1."""
    return [abs(one - other) / max(other, 1.0) for one, other in zip(some, others, strict=True)]


def texts(slot: int, examples: Sequence[Encoded]) -> Share:
    return Share(
        slot=slot,
        examples=tuple(examples),
        total=losses.weight(examples, 0.0),
        prompt_loss_weight=0.0,
        beta=0.1,
        reference=None,
    )


def written(base: BaseModel, prompts: Sequence[Prompt]) -> dict[int, Continuation]:
    return {piece.id: piece for piece in generate(base, prompts) if isinstance(piece, Continuation)}


def prompts(base: BaseModel, rows: Sequence[Encoded], adapters: Sequence[Adapter | None]) -> list[Prompt]:
    """Greedy ones with log-likelihoods and drawn ones, in turn."""
    return [
        Prompt(
            id=number,
            ids=row.ids[: row.prompt_length],
            max_tokens=20,
            adapter=adapters[number % len(adapters)],
            temperature=0.7 * (number % 2),
            top_p=0.9,
            seed=number,
            alternatives=None if number % 2 else 3,
        )
        for number, row in enumerate(rows)
    ]


class TestSampling:
    def test_in_fp32_it_writes_what_the_cpu_writes(
        self,
        in_fp32: BaseModel,
        folder_of: Callable[[str], Path],
        encode: Encode,
        random_adapter: Callable[..., Adapter],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(torch.cuda, "is_available", lambda: False)
            exact = load(str(folder_of("llama")))
        texts_of = [
            {
                number: one.text
                for number, one in written(
                    base, prompts(base, encode(base), [None, *(random_adapter(base, seed=s) for s in range(3))])
                ).items()
            }
            for base in (in_fp32, exact)
        ]
        assert texts_of[0] == texts_of[1]

    def test_in_bf16_many_together_write_what_the_model_finds_likely(
        self, some_base: BaseModel, encode: Encode, random_adapter: Callable[..., Adapter]
    ) -> None:
        adapters = [None, random_adapter(some_base, rank=2, alpha=1), random_adapter(some_base, alpha=1)]
        for one in written(some_base, prompts(some_base, encode(some_base), adapters)).values():
            assert one.tokens <= 20
            for choice in one.choices:
                # Greedy: none of those told is likelier.
                best = max(likelihood for _, likelihood in choice.alternatives)
                assert choice.log_likelihood == pytest.approx(best, abs=1e-3)


def test_training_takes_about_the_memory_that_is_forecast(tmp_path: Path) -> None:
    """A base large enough that rounding up and small tensors do not count."""
    shape = {
        "hidden_size": 512,
        "intermediate_size": 2048,
        "num_hidden_layers": 6,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
        "eos_token_id": 1,
    }
    import transformers

    folder = save_model(tmp_path, lambda _: transformers.Qwen2Config(vocab_size=32000, **shape))
    base = load(str(folder))
    rows = [Encoded(row=row, ids=tuple(range(250)), prompt_length=20) for row in range(8)]
    plan = Plan(base=str(folder), learning_rate=1e-3, rank=8, batch_size=4)
    tasks = [Task(plan=plan, seed=seed, train=tuple(rows), valid=tuple(rows[:2])) for seed in range(12)]
    torch.cuda.reset_peak_memory_stats()
    trainings = {seed: begin(base, task) for seed, task in enumerate(tasks)}
    for _ in train(base, trainings, dict.fromkeys(trainings, 2)):
        pass
    measured = torch.cuda.max_memory_allocated()
    told = forecast(place(str(folder)), work([plan] * len(tasks), [250] * 8)).total
    print(f"{told / 2**20:.0f} MiB told, {measured / 2**20:.0f} measured")
    assert 0.5 * told < measured < 1.2 * told
