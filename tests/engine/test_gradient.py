from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from fewtune.bases.folder import describe
from fewtune.data.encode import Encoded
from fewtune.engine import losses
from fewtune.engine.base_model import BaseModel
from fewtune.engine.body import Body
from fewtune.engine.gradient import Adapters, Outcome, Share, gradient
from fewtune.engine.llama import Llama
from fewtune.engine.lora import Adapter
from fewtune.engine.optimizer import BETAS
from fewtune.engine.trainer import Event, Progress
from fewtune.engine.training import Training
from fewtune.engine.transformers_body import TransformersBody
from fewtune.types import Plan
from standin import padded
from standin.tiny_models import FAMILIES, MIXTURES

# PEFT asks transformers by an old name.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")

Encode = Callable[[BaseModel], tuple[Encoded, ...]]
Rejected = Callable[[BaseModel], Mapping[int, Encoded]]
BETA = 0.3


@pytest.fixture(params=[*FAMILIES, *MIXTURES])
def family(request: pytest.FixtureRequest) -> str:
    return request.param


def supervised(slot: int, examples: Sequence[Encoded], prompt_loss_weight: float = 0.0) -> Share:
    return Share(
        slot=slot,
        examples=tuple(examples),
        total=losses.weight(examples, prompt_loss_weight),
        prompt_loss_weight=prompt_loss_weight,
        beta=BETA,
        reference=None,
    )


def with_turns(first: Encoded, second: Encoded) -> Encoded:
    """A conversation of two questions and two answers, the answers trained."""
    length = len(first.ids)
    return replace(first, ids=first.ids + second.ids, gaps=((length, length + second.prompt_length),))


def preferred(slot: int, pairs: Sequence[tuple[Encoded, Encoded]], reference: Sequence[tuple[float, float]]) -> Share:
    return Share(
        slot=slot,
        examples=tuple(answer for pair in pairs for answer in pair),
        total=len(pairs),
        prompt_loss_weight=0.0,
        beta=BETA,
        reference=tuple(reference),
    )


def over(*adapters: Adapter) -> Adapters:
    return Adapters(
        weights=torch.stack([one.flat for one in adapters]),
        scales=tuple(one.scale for one in adapters),
        rank=adapters[0].rank,
        first=min(group.layer for group in adapters[0].groups),
    )


def gradient_of(base: BaseModel, adapter: Adapter, share: Share) -> tuple[Adapter, Outcome]:
    """The gradient laid out as the adapter is."""
    found, (outcome,) = gradient(base, over(adapter), [replace(share, slot=0)])
    return replace(adapter, flat=found[0]), outcome


def trl_loss(
    chosen: Tensor,
    rejected: Tensor,
    ref_chosen: Tensor,
    ref_rejected: Tensor,
    beta: float,
    label_smoothing: float = 0.0,
) -> Tensor:
    """TRL's `loss_type="sigmoid"`, mean over the batch; all are sums of log-probabilities of the answers."""
    pi_logratios, ref_logratios = chosen - rejected, ref_chosen - ref_rejected
    logits = pi_logratios - ref_logratios
    each = -logsigmoid(beta * logits) * (1 - label_smoothing) - logsigmoid(-beta * logits) * label_smoothing
    return each.mean()


def assert_gradients_are_equal(ours: Adapter, theirs: Mapping[str, tuple[Tensor, Tensor]]) -> None:
    for name, (a, b) in ours.matrices.items():
        for own, other in zip((a, b), theirs[name], strict=True):
            assert other.abs().max() > 0
            torch.testing.assert_close(own, other, rtol=1e-5, atol=1e-5)


class TestAgainstPeft:
    def test_loss_and_gradient_equal_pefts_for_the_same_matrices(
        self,
        base: BaseModel,
        family: str,
        folder_of: Callable[[str], Path],
        random_adapter: Callable[..., Adapter],
        encode: Encode,
    ) -> None:
        adapter, examples = random_adapter(base), encode(base)
        model = padded.peft_model(folder_of(family), adapter)
        loss = torch.cat(padded.losses(model, examples)).mean()
        loss.backward()
        ours, outcome = gradient_of(base, adapter, supervised(0, examples))
        # Next to a loss of 6 nats, fp32 numbers are 5e-7 apart.
        assert outcome.objective == pytest.approx(float(loss.detach()), abs=2e-6)
        assert outcome.tokens == sum(one.trained_tokens for one in examples)
        assert_gradients_are_equal(ours, padded.peft_gradient(model, adapter))

    def test_a_conversation_of_several_trained_turns_has_the_gradient_of_its_masked_loss(
        self,
        some_base: BaseModel,
        some_family: str,
        folder_of: Callable[[str], Path],
        random_adapter: Callable[..., Adapter],
        encode: Encode,
    ) -> None:
        adapter, rows = random_adapter(some_base), encode(some_base)
        examples = [with_turns(rows[0], rows[1]), rows[2], with_turns(rows[3], rows[4])]
        model = padded.peft_model(folder_of(some_family), adapter)
        loss = torch.cat(padded.losses(model, examples)).mean()
        loss.backward()
        ours, outcome = gradient_of(some_base, adapter, supervised(0, examples))
        assert outcome.objective == pytest.approx(float(loss.detach()), abs=2e-6)
        assert outcome.tokens == sum(one.trained_tokens for one in rows[:5])
        assert_gradients_are_equal(ours, padded.peft_gradient(model, adapter))

    def test_between_trained_turns_the_weight_is_that_of_a_prompt(
        self, llama: BaseModel, random_adapter: Callable[..., Adapter], encode: Encode
    ) -> None:
        adapter, rows = random_adapter(llama), encode(llama)
        two = with_turns(rows[0], rows[1])
        everything = replace(two, prompt_length=1, gaps=())
        (weighted, _), (whole, _) = (
            gradient_of(llama, adapter, supervised(0, [one], weight)) for one, weight in ((two, 1.0), (everything, 0.0))
        )
        torch.testing.assert_close(weighted.flat, whole.flat, rtol=1e-5, atol=1e-6)

    def test_adapting_the_upper_half_gives_the_gradient_of_adapting_it_in_peft(
        self,
        base: BaseModel,
        family: str,
        folder_of: Callable[[str], Path],
        random_adapter: Callable[..., Adapter],
        encode: Encode,
    ) -> None:
        adapter, examples = random_adapter(base, top=0.5), encode(base)
        assert {group.layer for group in adapter.groups} == {1}
        model = padded.peft_model(folder_of(family), adapter)
        torch.cat(padded.losses(model, examples)).mean().backward()
        # The second time what lies below comes from the cache.
        for _ in range(2):
            ours, _ = gradient_of(base, adapter, supervised(0, examples))
            assert_gradients_are_equal(ours, padded.peft_gradient(model, adapter))

    def test_the_gradient_on_preferences_is_that_of_trls_loss(
        self,
        some_base: BaseModel,
        some_family: str,
        folder_of: Callable[[str], Path],
        random_adapter: Callable[..., Adapter],
        encode: Encode,
        rejected: Rejected,
    ) -> None:
        base, folder = some_base, folder_of(some_family)
        adapter, better, worse = random_adapter(base), encode(base), list(rejected(base).values())
        with torch.no_grad():
            bare = padded.plain_model(folder)
            reference = [torch.stack([-part.sum() for part in padded.losses(bare, rows)]) for rows in (better, worse)]
        model = padded.peft_model(folder, adapter)
        policy = [torch.stack([-part.sum() for part in padded.losses(model, rows)]) for rows in (better, worse)]
        loss = trl_loss(*policy, *reference, BETA)
        loss.backward()
        pairs, numbers = list(zip(better, worse, strict=True)), torch.stack(reference, dim=1).tolist()
        ours, outcome = gradient_of(base, adapter, preferred(0, pairs, numbers))
        assert outcome.objective == pytest.approx(float(loss.detach()), rel=1e-5)
        for name, theirs in padded.peft_gradient(model, adapter).items():
            for own, other in zip(ours.matrices[name], theirs, strict=True):
                torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-4)

    def test_a_training_follows_pefts_model_under_torchs_adamw(
        self,
        llama: BaseModel,
        folder_of: Callable[[str], Path],
        begin_training: Callable[..., Training],
        finish: Callable[..., list[Event]],
    ) -> None:
        plan = Plan(learning_rate=5e-3, rank=4, alpha=8, batch_size=5, warmup_steps=0, weight_decay=0.1, clip=0.5)
        training = begin_training(llama, replace(plan, epochs=8))
        model = padded.peft_model(folder_of("llama"), training.adapter)
        own = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(own, lr=plan.learning_rate, betas=BETAS, eps=1e-8, weight_decay=0.1)
        for progress in finish(llama, {"t": training}):
            optimizer.zero_grad()
            loss = torch.cat(padded.losses(model, training.task.train)).mean()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(own, plan.clip)
            optimizer.step()
            assert isinstance(progress, Progress)
            assert progress.loss == pytest.approx(float(loss.detach()), abs=1e-4)


class TestFused:
    """Several adapters in one pass, as on a GPU."""

    @pytest.fixture
    def mixed(self, base: BaseModel, encode: Encode, rejected: Rejected) -> list[Share]:
        """Three trials: texts, in two parts that do not meet; texts with their prompts; preferences."""
        rows, worse = encode(base), rejected(base)
        whole = losses.weight(rows[:3], 0.0)
        pairs = [(one, worse[one.row]) for one in rows[2:5]]
        return [
            replace(supervised(0, rows[:2]), total=whole),
            supervised(2, rows[1:6], 0.2),
            replace(supervised(0, rows[2:3]), total=whole),
            preferred(1, pairs, [(-20.0, -30.0), (-25.0, -21.0), (-40.0, -20.0)]),
        ]

    def test_each_adapters_gradient_is_the_one_it_has_alone(
        self, base: BaseModel, mixed: list[Share], random_adapter: Callable[..., Adapter]
    ) -> None:
        adapters = [random_adapter(base, seed=seed, alpha=4 * (seed + 1)) for seed in range(3)]
        together, outcomes = gradient(base, over(*adapters), mixed)
        for slot, adapter in enumerate(adapters):
            own = [share for share in mixed if share.slot == slot]
            alone = sum(gradient(base, over(adapter), [replace(share, slot=0)])[0][0] for share in own)
            error = (together[slot] - alone).norm() / alone.norm()
            assert error < 1e-5, slot
        for share, outcome in zip(mixed, outcomes, strict=True):
            _, (expected,) = gradient(base, over(adapters[share.slot]), [replace(share, slot=0)])
            assert outcome.slot == share.slot
            assert outcome.objective == pytest.approx(expected.objective, rel=1e-5)
            assert outcome.answer_loss == pytest.approx(expected.answer_loss, rel=1e-5)
            assert (outcome.tokens, outcome.greedy) == (expected.tokens, expected.greedy)

    def test_an_adapter_without_rows_in_the_pass_has_no_gradient(
        self, llama: BaseModel, encode: Encode, random_adapter: Callable[..., Adapter]
    ) -> None:
        adapters = [random_adapter(llama, seed=seed) for seed in range(3)]
        rows = encode(llama)
        together, _ = gradient(llama, over(*adapters), [supervised(0, rows[:2]), supervised(2, rows[2:])])
        assert not together[1].any()
        assert together[0].any() and together[2].any()


class TestNumbers:
    def test_in_bf16_as_on_cuda_it_is_close_to_what_it_is_in_fp32(
        self,
        some_base: BaseModel,
        some_family: str,
        folder_of: Callable[[str], Path],
        encode: Encode,
        random_adapter: Callable[..., Adapter],
    ) -> None:
        folder, cpu = folder_of(some_family), torch.device("cpu")
        if isinstance(some_base.body, Llama):
            body: Body = Llama(folder, describe(str(folder)), cpu, torch.bfloat16)
        else:
            body = TransformersBody(folder, cpu, torch.bfloat16)
        rows, adapters = encode(some_base), [random_adapter(some_base, seed=seed, alpha=2) for seed in range(2)]
        shares = [supervised(0, rows[:3]), supervised(1, rows[3:], 0.1)]
        exact, _ = gradient(some_base, over(*adapters), shares)
        rough, outcomes = gradient(replace(some_base, body=body), over(*adapters), shares)
        assert rough.dtype == torch.float32
        assert (rough - exact).norm(dim=1).div(exact.norm(dim=1)).max() < 0.1
        assert all(outcome.objective > 0 for outcome in outcomes)

    def test_the_upper_half_has_the_numbers_that_it_has_without_the_cache(
        self, base: BaseModel, encode: Encode, random_adapter: Callable[..., Adapter], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        adapter, share = random_adapter(base, top=0.5), supervised(0, encode(base))
        cached, numbers = gradient_of(base, adapter, share)
        states = base.body.states

        def from_the_bottom(*given: Any, first: int, prefix: Tensor | None, **named: Any) -> Tensor:
            assert first == 1 and prefix is not None
            return states(*given, **named)

        with monkeypatch.context() as patch:
            patch.setattr(base.body, "states", from_the_bottom)
            whole, expected = gradient_of(base, adapter, share)
        assert numbers.objective == pytest.approx(expected.objective, rel=1e-6)
        assert (cached.flat - whole.flat).norm() < 1e-5 * whole.flat.norm()

    def test_arrays_come_back_as_arrays_with_the_same_numbers(
        self, llama: BaseModel, encode: Encode, random_adapter: Callable[..., Adapter]
    ) -> None:
        adapters, share = over(random_adapter(llama)), supervised(0, encode(llama))
        tensors, _ = gradient(llama, adapters, [share])
        arrays, _ = gradient(llama, replace(adapters, weights=adapters.weights.numpy()), [share])  # type: ignore[union-attr]
        assert torch.equal(torch.from_numpy(arrays), tensors)

    def test_a_workers_numbers_are_those_of_this_process(
        self, llama: BaseModel, encode: Encode, random_adapter: Callable[..., Adapter]
    ) -> None:
        adapters, share = over(random_adapter(llama)), supervised(0, encode(llama), 0.5)
        adapters = replace(adapters, weights=adapters.weights.numpy())  # type: ignore[union-attr]
        ours, (own,) = gradient(llama, adapters, [share])
        theirs, (other,) = llama.workers.submit(gradient, adapters, [share]).result()
        assert ours.tobytes() == theirs.tobytes()
        assert replace(own, seconds=0.0) == replace(other, seconds=0.0)


class TestPreferenceLoss:
    def test_it_is_minus_log_sigmoid_of_beta_times_the_margin(self) -> None:
        policy = torch.tensor([[-10.0, -12.0], [-3.0, -1.0], [-50.0, -900.0]], dtype=torch.float64)
        reference = torch.tensor([[-11.0, -11.0], [-2.0, -2.0], [-40.0, -900.0]], dtype=torch.float64)
        margins = (policy - reference)[:, 0] - (policy - reference)[:, 1]
        direct = -torch.log(1 / (1 + torch.exp(-BETA * margins)))
        torch.testing.assert_close(losses.preference(policy, reference, BETA), direct.sum())
        trl = trl_loss(policy[:, 0], policy[:, 1], reference[:, 0], reference[:, 1], BETA)
        torch.testing.assert_close(losses.preference(policy, reference, BETA) / 3, trl)

    def test_where_nothing_was_learned_it_is_that_of_a_coin(self) -> None:
        equal = torch.tensor([[-10.0, -12.0]])
        assert float(losses.preference(equal, equal, BETA)) == pytest.approx(0.6931472)

    def test_far_off_margins_do_not_overflow(self) -> None:
        far = torch.tensor([[-1e6, 0.0], [0.0, -1e6]])
        assert losses.preference(far, torch.zeros(2, 2), 1.0).tolist() == 2e6 / 2


_ONE_GRADIENT = """
import sys
import torch
from fewtune.data.encode import Encoded
from fewtune.engine.base_model import load
from fewtune.engine.gradient import Adapters, Share, gradient

base = load("pocket")
size = sum(8 * (site.inputs + site.outputs) for group in base.body.groups for site in group.sites)
adapters = Adapters(weights=torch.ones(1, size).numpy(), scales=(1.0,), rank=8, first=0)
row = Encoded(row=0, ids=(1, 40, 41, 42), prompt_length=2)
share = Share(slot=0, examples=(row,), total=2.0, prompt_loss_weight=0.0, beta=0.1, reference=None)
found, _ = gradient(base, adapters, [share])
assert found.any()
print(*(name for name in ("sympy", "transformers") if name in sys.modules))
"""


def test_the_first_gradient_of_the_built_in_base_imports_nothing_that_takes_seconds() -> None:
    ran = subprocess.run([sys.executable, "-c", _ONE_GRADIENT], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == []
