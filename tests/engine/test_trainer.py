from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
import torch

from fewtune.data.encode import Encoded
from fewtune.engine import lora
from fewtune.engine.base_model import BaseModel
from fewtune.engine.batching import pack
from fewtune.engine.likelihood import measure, token_losses
from fewtune.engine.trainer import BETAS, NonFiniteLoss, Progress, Training, step, train
from fewtune.types import Plan

PLANS = {
    "a": Plan(learning_rate=1e-2, epochs=3, batch_size=2, rank=4, warmup_steps=2),
    "b": Plan(learning_rate=3e-3, epochs=4, batch_size=3, rank=8, alpha=4, prompt_loss_weight=0.1, weight_decay=0.1),
    "c": Plan(learning_rate=5e-2, epochs=2, batch_size=5, rank=2, cooldown=0.5, clip=0.3),
}
SEEDS = {"a": 0, "b": 1, "c": 2}


def finish(base: BaseModel, trainings: Mapping[str, Training]) -> list[Progress | tuple[str, NonFiniteLoss]]:
    return list(train(base, trainings, {name: one.task.steps for name, one in trainings.items()}))


def content(training: Training) -> tuple[bytes, bytes, bytes]:
    tensors = (training.adapter.flat, training.first_moment, training.second_moment)
    return tuple(tensor.numpy().tobytes() for tensor in tensors)  # type: ignore[return-value]


class TestTogether:
    def test_three_trainings_in_turn_equal_each_alone_in_every_bit(
        self, base: BaseModel, begin_training: Callable[..., Training]
    ) -> None:
        together = {name: begin_training(base, plan, seed=SEEDS[name]) for name, plan in PLANS.items()}
        events = finish(base, together)
        for name, plan in PLANS.items():
            alone = begin_training(base, plan, seed=SEEDS[name])
            own = finish(base, {name: alone})
            assert content(together[name]) == content(alone)
            assert [event for event in events if isinstance(event, Progress) and event.name == name] == own

    def test_stopping_at_a_target_and_going_on_changes_no_bit(
        self, llama: BaseModel, begin_training: Callable[..., Training]
    ) -> None:
        whole, parts = (begin_training(llama, PLANS["a"]) for _ in range(2))
        finish(llama, {"t": whole})
        for target in (1, 1, 4, 5):
            list(train(llama, {"t": parts}, {"t": target}))
            assert parts.step == target
        finish(llama, {"t": parts})
        assert content(parts) == content(whole)

    def test_the_callers_random_state_is_neither_used_nor_changed(
        self, llama: BaseModel, begin_training: Callable[..., Training]
    ) -> None:
        flats: list[bytes] = []
        for seed in (1, 2):
            torch.manual_seed(seed)
            before = torch.get_rng_state()
            training = begin_training(llama, PLANS["a"])
            finish(llama, {"t": training})
            assert torch.equal(torch.get_rng_state(), before)
            flats.append(content(training)[0])
        assert flats[0] == flats[1]


class TestStep:
    def test_a_prompt_loss_weight_gives_the_gradient_of_the_weighted_mean(
        self, llama: BaseModel, begin_training: Callable[..., Training], random_adapter: Callable[..., lora.Adapter]
    ) -> None:
        plan = Plan(learning_rate=1e-3, rank=4, alpha=8, batch_size=5, prompt_loss_weight=0.2, clip=1e9)
        training = begin_training(llama, plan)
        training.adapter.flat.copy_(random_adapter(llama).flat)
        examples = training.task.train
        leaves = [leaf for pair in training.adapter.matrices.values() for leaf in pair]
        with lora.in_use(llama, training.adapter):
            # Token by token: a prompt's token counts a fifth of an answer's.
            total, weight = torch.zeros(()), 0.0
            for one in examples:
                losses, _ = token_losses(llama, pack([one], llama.device, 1.0))
                prompt, answer = losses[: one.prompt_length - 1], losses[one.prompt_length - 1 :]
                assert len(answer) == one.trained_tokens
                total = total + 0.2 * prompt.sum() + answer.sum()
                weight += 0.2 * len(prompt) + len(answer)
            expected = torch.autograd.grad(total / weight, leaves)
        step(llama, "t", training)
        flat = torch.cat([gradient.reshape(-1) for gradient in expected])
        torch.testing.assert_close(training.first_moment / (1 - BETAS[0]), flat, rtol=0, atol=1e-5)

    def test_the_loss_that_is_told_is_the_mean_of_answer_and_stop_tokens(
        self, llama: BaseModel, begin_training: Callable[..., Training]
    ) -> None:
        for weight in (0.0, 0.5):
            training = begin_training(llama, Plan(learning_rate=1e-3, batch_size=5, prompt_loss_weight=weight))
            likelihoods = measure(llama, training.task.train)
            tokens = [value for row in likelihoods for value in row.log_likelihoods]
            greedy = [most_likely for row in likelihoods for most_likely in row.greedy]
            progress = step(llama, "t", training)
            assert progress.loss == pytest.approx(-sum(tokens) / len(tokens), abs=1e-5)
            assert progress.token_accuracy == pytest.approx(sum(greedy) / len(greedy))

    def test_the_first_step_with_a_gradient_is_clipped_to_the_plans_norm(
        self, llama: BaseModel, begin_training: Callable[..., Training]
    ) -> None:
        training = begin_training(llama, Plan(learning_rate=1e-3, batch_size=5, clip=0.01))
        progress = step(llama, "t", training)
        assert progress.gradient_norm > 0.01
        assert float(training.first_moment.norm()) == pytest.approx(0.01 * (1 - BETAS[0]), rel=1e-3)

    def test_validation_comes_at_the_end_of_each_epoch_and_measures_the_adapter_of_that_step(
        self, llama: BaseModel, begin_training: Callable[..., Training]
    ) -> None:
        training = begin_training(llama, Plan(learning_rate=1e-2, epochs=2, batch_size=2))
        validated: list[int] = []
        for progress in train(llama, {"t": training}, {"t": 6}):
            assert isinstance(progress, Progress)
            if progress.validation is not None:
                validated.append(progress.step)
                with lora.in_use(llama, training.adapter):
                    assert list(progress.validation) == measure(llama, training.task.valid)
        assert validated == [3, 6]

    def test_tokens_are_counted_once_for_each_pass(
        self, llama: BaseModel, begin_training: Callable[..., Training]
    ) -> None:
        training = begin_training(llama, Plan(learning_rate=1e-2, epochs=3, batch_size=2))
        finish(llama, {"t": training})
        assert training.tokens == 3 * sum(len(one.ids) for one in training.task.train)

    def test_training_brings_the_loss_down(self, base: BaseModel, begin_training: Callable[..., Training]) -> None:
        training = begin_training(base, Plan(learning_rate=2e-2, epochs=20, batch_size=5, rank=8))
        losses = [progress.loss for progress in finish(base, {"t": training}) if isinstance(progress, Progress)]
        assert losses[-1] < losses[0] / 2


class TestNonFinite:
    def poisoned(self, base: BaseModel, begin_training: Callable[..., Training], value: float) -> Training:
        training = begin_training(base, PLANS["a"])
        training.adapter.flat[5] = value
        return training

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_it_is_noticed_before_the_optimizer_step_and_names_the_rows(
        self, llama: BaseModel, begin_training: Callable[..., Training], value: float
    ) -> None:
        training = self.poisoned(llama, begin_training, value)
        before = content(training)
        with pytest.raises(NonFiniteLoss) as caught:
            step(llama, "t", training)
        assert caught.value.step == 1
        assert len(caught.value.rows) == 2 and set(caught.value.rows) <= set(range(5))
        assert content(training) == before
        assert training.step == training.tokens == 0

    def test_the_others_do_not_notice_and_the_base_is_bare_again(
        self, llama: BaseModel, begin_training: Callable[..., Training], encode: Callable[..., tuple[Encoded, ...]]
    ) -> None:
        bare = measure(llama, encode(llama))
        others = {name: begin_training(llama, PLANS[name]) for name in ("b", "c")}
        events = finish(llama, {"a": self.poisoned(llama, begin_training, float("nan")), **others})
        failures = [event for event in events if isinstance(event, tuple)]
        assert [name for name, _ in failures] == ["a"]
        for name, training in others.items():
            alone = begin_training(llama, PLANS[name])
            finish(llama, {name: alone})
            assert content(training) == content(alone)
        assert measure(llama, encode(llama)) == bare


def test_plans_that_differ_in_epochs_alone_are_one_training_read_off_earlier(
    llama: BaseModel, begin_training: Callable[..., Training]
) -> None:
    long = begin_training(llama, replace(PLANS["a"], epochs=4))
    short = begin_training(llama, replace(PLANS["a"], epochs=1))
    finish(llama, {"short": short})
    list(train(llama, {"long": long}, {"long": short.task.steps}))
    assert content(long) == content(short)
