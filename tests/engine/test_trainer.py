from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from fewtune.data.encode import Encoded
from fewtune.engine import trainer, workers
from fewtune.engine.attention import PackedAttention
from fewtune.engine.base_model import BaseModel
from fewtune.engine.likelihood import measure
from fewtune.engine.lora import Adapter
from fewtune.engine.optimizer import BETAS
from fewtune.engine.routing import routing_of
from fewtune.engine.trainer import Event, NonFiniteLoss, Progress, train
from fewtune.engine.training import Task, Training, begin
from fewtune.errors import DataError
from fewtune.schedule.rates import learning_rate
from fewtune.types import Example, Plan, Source
from standin.tiny_models import CONTEXT
from standin.trials import distance

Begin = Callable[..., Training]
Finish = Callable[..., list[Event]]

PLAN = Plan(learning_rate=1e-2, epochs=3, batch_size=2, rank=4, warmup_steps=2)


def content(training: Training) -> tuple[bytes, ...]:
    tensors = (training.adapter.flat, training.first_moment, training.second_moment, training.result.flat)
    return tuple(tensor.numpy().tobytes() for tensor in tensors)


def told_of(name: str, events: list[Event]) -> list[Progress]:
    return [event for event in events if isinstance(event, Progress) and event.name == name]


class TestTogether:
    def test_eight_trainings_at_once_equal_each_alone_in_every_bit(
        self, llama: BaseModel, eight: Callable[[BaseModel], dict[str, Training]], finish: Finish
    ) -> None:
        together, alone = eight(llama), eight(llama)
        events = finish(llama, together, 20)
        for name, training in alone.items():
            own = finish(llama, {name: training}, 20)
            assert training.step == together[name].step == 20
            assert content(together[name]) == content(training), name
            assert told_of(name, events) == own, name

    def test_trainings_of_several_families_equal_each_alone_in_every_bit(
        self, some_base: BaseModel, eight: Callable[[BaseModel], dict[str, Training]], finish: Finish
    ) -> None:
        some = ("plain", "prompts too", "upper half", "preferences")
        together, alone = ({name: eight(some_base)[name] for name in some} for _ in range(2))
        finish(some_base, together, 4)
        for name, training in alone.items():
            finish(some_base, {name: training}, 4)
            assert content(together[name]) == content(training), name

    @pytest.mark.parametrize("count", [1, 3])
    def test_the_number_of_workers_changes_no_bit(
        self,
        llama: BaseModel,
        eight: Callable[[BaseModel], dict[str, Training]],
        finish: Finish,
        monkeypatch: pytest.MonkeyPatch,
        count: int,
    ) -> None:
        two, others = eight(llama), eight(llama)
        monkeypatch.setattr(workers, "cores", lambda: 2)
        events = finish(llama, two, 4)
        monkeypatch.setattr(workers, "cores", lambda: count)
        base = replace(llama)
        assert base.workers.count == count
        again = finish(base, others, 4)
        for name, training in two.items():
            assert content(others[name]) == content(training), name
            assert told_of(name, again) == told_of(name, events)

    def test_trainings_side_by_side_share_the_time_that_passed(
        self,
        llama: BaseModel,
        eight: Callable[[BaseModel], dict[str, Training]],
        finish: Finish,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(workers, "cores", lambda: 2)
        trainings = eight(llama)
        started = time.perf_counter()
        finish(llama, trainings, 4)
        passed = time.perf_counter() - started
        assert 0 < sum(training.seconds for training in trainings.values()) <= passed

    def test_threads_as_on_macos_change_no_bit(
        self,
        llama: BaseModel,
        eight: Callable[[BaseModel], dict[str, Training]],
        finish: Finish,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        forked, threaded = eight(llama), eight(llama)
        finish(llama, forked, 4)
        monkeypatch.setattr(workers.sys, "platform", "darwin")
        finish(replace(llama), threaded, 4)
        for name, training in forked.items():
            assert content(threaded[name]) == content(training), name

    def test_one_that_joins_late_and_one_that_ends_early_change_no_other(
        self, llama: BaseModel, begin_training: Begin, finish: Finish
    ) -> None:
        plans = {"long": PLAN, "short": replace(PLAN, epochs=1), "late": replace(PLAN, batch_size=3, rank=2)}
        together, alone = ({name: begin_training(llama, one) for name, one in plans.items()} for _ in range(2))
        finish(llama, {name: together[name] for name in ("long", "short")}, 2)
        finish(llama, together)
        for name, training in alone.items():
            finish(llama, {name: training})
            assert content(together[name]) == content(training), name

    def test_stopping_at_a_target_and_going_on_changes_no_bit(
        self, llama: BaseModel, begin_training: Begin, finish: Finish
    ) -> None:
        whole, parts = (begin_training(llama, PLAN) for _ in range(2))
        finish(llama, {"t": whole})
        for target in (1, 1, 4, 5):
            finish(llama, {"t": parts}, target)
            assert parts.step == target
        finish(llama, {"t": parts})
        assert content(parts) == content(whole)

    def test_the_callers_random_state_and_threads_are_neither_used_nor_changed(
        self, llama: BaseModel, begin_training: Begin, finish: Finish
    ) -> None:
        flats: list[tuple[bytes, ...]] = []
        for seed in (1, 2):
            torch.manual_seed(seed)
            torch.set_num_threads(seed)
            before = torch.get_rng_state()
            training = begin_training(llama, PLAN)
            for _ in train(llama, {"t": training}, {"t": 5}):
                assert torch.get_num_threads() == seed
            assert torch.equal(torch.get_rng_state(), before)
            flats.append(content(training))
        torch.set_num_threads(1)
        assert flats[0] == flats[1]

    def test_an_iterator_closed_midway_leaves_no_job_and_whole_steps(
        self, llama: BaseModel, begin_training: Begin, finish: Finish, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        futures: list[Future[Any]] = []
        submit = workers.Workers.submit

        def spy(self: workers.Workers, *job: Any) -> Future[Any]:
            futures.append(submit(self, *job))
            return futures[-1]

        monkeypatch.setattr(workers.Workers, "submit", spy)
        together, alone = ({name: begin_training(llama, PLAN, seed=name) for name in range(4)} for _ in range(2))
        for events in (1, 2, 5):
            iterator = train(llama, together, dict.fromkeys(together, PLAN.epochs * 3))
            for _ in range(events):
                next(iterator)
            iterator.close()  # type: ignore[attr-defined]
            assert all(future.done() for future in futures)
        assert sum(training.step for training in together.values()) == 1 + 2 + 5
        finish(llama, together)
        finish(llama, alone)
        for name, training in alone.items():
            assert content(together[name]) == content(training)

    def test_a_step_that_fails_leaves_no_job_either(
        self, llama: BaseModel, begin_training: Begin, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        futures: list[Future[Any]] = []
        submit = workers.Workers.submit

        def spy(self: workers.Workers, *job: Any) -> Future[Any]:
            futures.append(submit(self, *(job if len(futures) != 4 else (fail,))))
            return futures[-1]

        monkeypatch.setattr(workers.Workers, "submit", spy)
        trainings = {name: begin_training(llama, PLAN, seed=name) for name in range(4)}
        with pytest.raises(KeyError, match="on purpose"):
            list(train(llama, trainings, dict.fromkeys(trainings, 9)))
        assert len(futures) > 5
        assert all(future.done() for future in futures)


def fail(_base: BaseModel) -> None:
    raise KeyError("on purpose")


class TestFused:
    """Many adapters in one pass, as on a GPU; here in fp32 on the CPU."""

    def test_eight_trainings_in_common_passes_come_to_what_each_comes_to_alone(
        self,
        some_base: BaseModel,
        some_family: str,
        eight: Callable[[BaseModel], dict[str, Training]],
        finish: Finish,
        as_on_a_gpu: Callable[[BaseModel], AbstractContextManager[BaseModel]],
    ) -> None:
        together, alone, steps = eight(some_base), eight(some_base), 20 if some_family == "llama" else 4
        with as_on_a_gpu(some_base) as fused:
            events = finish(fused, together, steps)
        own = finish(some_base, alone, steps)
        for name, training in alone.items():
            assert distance(together[name], training) < 1e-3, name
            for ours, theirs in zip(told_of(name, events), told_of(name, own), strict=True):
                assert ours.loss == pytest.approx(theirs.loss, rel=1e-3)
                assert ours.gradient_norm == pytest.approx(theirs.gradient_norm, rel=1e-3)
                assert (ours.validation is None) == (theirs.validation is None)

    def test_trainings_of_one_shape_share_their_passes(
        self,
        llama: BaseModel,
        begin_training: Begin,
        finish: Finish,
        as_on_a_gpu: Callable[[BaseModel], AbstractContextManager[BaseModel]],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        widths: list[int] = []
        gradient = trainer.gradient

        def spy(base: BaseModel, adapters: Any, shares: Any) -> Any:
            widths.append(len({share.slot for share in shares}))
            return gradient(base, adapters, shares)

        monkeypatch.setattr(trainer, "gradient", spy)
        with as_on_a_gpu(llama) as fused:
            finish(fused, {name: begin_training(fused, PLAN, seed=name) for name in range(5)}, 1)
        assert widths == [5]

    @pytest.mark.parametrize("how", ["nan weight", "huge weight", "huge rate"])
    def test_one_that_diverges_is_stopped_and_the_others_go_on(
        self,
        llama: BaseModel,
        begin_training: Begin,
        finish: Finish,
        as_on_a_gpu: Callable[[BaseModel], AbstractContextManager[BaseModel]],
        how: str,
    ) -> None:
        plans = {name: replace(PLAN, batch_size=2 + name % 2, learning_rate=2e-3 * (1 + name)) for name in range(4)}
        if how == "huge rate":
            plans[1] = replace(plans[1], learning_rate=1e30, clip=1e30)
        together, alone = (
            {name: begin_training(llama, one, seed=name) for name, one in plans.items()} for _ in range(2)
        )
        finish(llama, together, 2)
        if how != "huge rate":
            together[1].adapter.flat[7] = math.nan if how == "nan weight" else 3e38
        with as_on_a_gpu(llama) as fused:
            events = finish(fused, together)
        assert [event[0] for event in events if isinstance(event, tuple)] == [1]
        finish(llama, {name: one for name, one in alone.items() if name != 1})
        for name in (0, 2, 3):
            assert together[name].step == together[name].task.steps
            assert distance(together[name], alone[name]) < 1e-3

    def test_more_than_a_pass_holds_is_cut_and_added_up(
        self,
        llama: BaseModel,
        begin_training: Begin,
        finish: Finish,
        as_on_a_gpu: Callable[[BaseModel], AbstractContextManager[BaseModel]],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        together, cut = ({name: begin_training(llama, PLAN, seed=name) for name in range(4)} for _ in range(2))
        with as_on_a_gpu(llama) as fused:
            finish(fused, together, 3)
            monkeypatch.setattr(trainer, "TOKENS_PER_PASS", 40)
            monkeypatch.setattr("fewtune.engine.batching.within_tokens.__defaults__", (15,))
            finish(fused, cut, 3)
        for name, training in together.items():
            assert distance(cut[name], training) < 1e-4


class TestStep:
    def test_a_prompt_loss_weight_gives_the_gradient_of_the_weighted_mean(
        self, llama: BaseModel, begin_training: Begin, random_adapter: Callable[..., Adapter], finish: Finish
    ) -> None:
        plan = Plan(learning_rate=1e-3, rank=4, alpha=8, batch_size=5, prompt_loss_weight=0.2, clip=1e9)
        training = begin_training(llama, plan, adapter=random_adapter(llama))
        flat = training.adapter.flat.clone().requires_grad_()
        routing = routing_of(flat[None], training.adapter, training.adapter.scale)
        # Token by token: a prompt's token counts a fifth of an answer's.
        total, weight = torch.zeros(()), 0.0
        for one in training.task.train:
            ids = torch.tensor(one.ids)
            states = llama.body.states(ids, torch.arange(len(ids)), PackedAttention([len(ids)]), routing)
            losses = cross_entropy(llama.logits(states)[:-1], ids[1:], reduction="none")
            prompt, answer = losses[: one.prompt_length - 1], losses[one.prompt_length - 1 :]
            assert len(answer) == one.trained_tokens
            total = total + 0.2 * prompt.sum() + answer.sum()
            weight += 0.2 * len(prompt) + len(answer)
        (expected,) = torch.autograd.grad(total / weight, flat)
        finish(llama, {"t": training}, 1)
        torch.testing.assert_close(training.first_moment / (1 - BETAS[0]), expected, rtol=0, atol=1e-5)

    def test_accumulated_batches_are_one_large_batch(
        self, some_base: BaseModel, begin_training: Begin, random_adapter: Callable[..., Adapter], finish: Finish
    ) -> None:
        large = Plan(learning_rate=1e-2, rank=4, alpha=8, batch_size=4, prompt_loss_weight=0.1)
        small = replace(large, batch_size=2, gradient_accumulation=2)
        one, other = (begin_training(some_base, plan, adapter=random_adapter(some_base)) for plan in (large, small))
        assert finish(some_base, {"t": one}) == finish(some_base, {"t": other})
        assert content(one) == content(other)

    def test_the_loss_that_is_told_is_the_mean_of_answer_and_stop_tokens(
        self, llama: BaseModel, begin_training: Begin, finish: Finish
    ) -> None:
        for weight in (0.0, 0.5):
            training = begin_training(llama, Plan(learning_rate=1e-3, batch_size=5, prompt_loss_weight=weight))
            likelihoods = measure(llama, training.task.train)
            tokens = [value for row in likelihoods for value in row.log_likelihoods]
            greedy = [most_likely for row in likelihoods for most_likely in row.greedy]
            (progress,) = finish(llama, {"t": training}, 1)
            assert isinstance(progress, Progress)
            assert progress.loss == pytest.approx(-sum(tokens) / len(tokens), abs=1e-5)
            assert progress.token_accuracy == pytest.approx(sum(greedy) / len(greedy))

    def test_the_first_step_is_clipped_to_the_plans_norm(
        self, llama: BaseModel, begin_training: Begin, finish: Finish
    ) -> None:
        training = begin_training(llama, Plan(learning_rate=1e-3, batch_size=5, clip=0.01))
        (progress,) = finish(llama, {"t": training}, 1)
        assert isinstance(progress, Progress)
        assert progress.gradient_norm > 0.01
        assert float(training.first_moment.norm()) == pytest.approx(0.01 * (1 - BETAS[0]), rel=1e-3)

    def test_each_step_has_the_rate_of_the_schedule(
        self, llama: BaseModel, begin_training: Begin, finish: Finish
    ) -> None:
        cooling = replace(PLAN, cooldown=0.5, warmup_steps=3)
        training = begin_training(llama, cooling)
        events = finish(llama, {"t": training})
        rates = [event.learning_rate for event in events if isinstance(event, Progress)]
        assert rates == [learning_rate(cooling, step, 9) for step in range(9)]
        assert rates[0] < rates[2] > rates[-1] > 0

    def test_validation_comes_at_the_end_of_each_epoch_and_measures_the_adapter_of_that_step(
        self, llama: BaseModel, begin_training: Begin
    ) -> None:
        training = begin_training(llama, Plan(learning_rate=1e-2, epochs=2, batch_size=2))
        validated: list[int] = []
        for progress in train(llama, {"t": training}, {"t": 6}):
            assert isinstance(progress, Progress)
            if progress.validation is not None:
                validated.append(progress.step)
                assert list(progress.validation) == measure(llama, training.task.valid, training.adapter)
        assert validated == [3, 6]

    def test_without_validation_rows_an_epochs_end_is_told_all_the_same(
        self, llama: BaseModel, begin_training: Begin, encode: Callable[..., tuple[Encoded, ...]], finish: Finish
    ) -> None:
        trainings = {
            "with": begin_training(llama, PLAN),
            "without": begin_training(llama, PLAN, rows=encode(llama)[:5]),
        }
        events = finish(llama, trainings)
        for name in trainings:
            assert [event.validation is None for event in told_of(name, events)] == [True, True, False] * 3
        assert told_of("without", events)[2].validation == ()

    def test_tokens_are_counted_once_for_each_pass(
        self, llama: BaseModel, begin_training: Begin, finish: Finish
    ) -> None:
        training = begin_training(llama, PLAN)
        pairs = begin_training(llama, PLAN, preferences=True)
        finish(llama, {"t": training, "p": pairs})
        better, worse = training.task.train, pairs.task.rejected.values()
        assert training.tokens == 3 * sum(len(one.ids) for one in better)
        assert pairs.tokens == 3 * sum(len(one.ids) for one in (*better, *worse))

    def test_training_brings_the_loss_down(self, some_base: BaseModel, begin_training: Begin, finish: Finish) -> None:
        training = begin_training(some_base, Plan(learning_rate=2e-2, epochs=15, batch_size=5, rank=8))
        losses = [progress.loss for progress in finish(some_base, {"t": training}) if isinstance(progress, Progress)]
        assert losses[-1] < losses[0] / 2


class TestPreferences:
    def test_the_first_loss_is_that_of_a_coin(
        self, some_base: BaseModel, begin_training: Begin, finish: Finish
    ) -> None:
        training = begin_training(some_base, replace(PLAN, batch_size=5), preferences=True)
        (progress,) = finish(some_base, {"t": training}, 1)
        assert isinstance(progress, Progress)
        assert progress.loss == pytest.approx(math.log(2), abs=1e-4)

    def test_the_better_answers_become_likelier_next_to_the_worse(
        self, llama: BaseModel, begin_training: Begin, random_adapter: Callable[..., Adapter], finish: Finish
    ) -> None:
        plan = Plan(learning_rate=1e-2, epochs=10, batch_size=5, rank=4, alpha=8)
        training = begin_training(llama, plan, preferences=True, adapter=random_adapter(llama))
        events = finish(llama, {"t": training})
        assert events[-1].loss < events[0].loss / 2  # type: ignore[union-attr]
        worse = [training.task.rejected[one.row] for one in training.task.train]
        for better, bad in zip(
            measure(llama, training.task.train, training.adapter), measure(llama, worse, training.adapter), strict=True
        ):
            before = training.reference[better.row]
            assert sum(better.log_likelihoods) - sum(bad.log_likelihoods) > before[0] - before[1]


class TestNonFinite:
    @pytest.mark.parametrize("count", [10, pytest.param(100, marks=pytest.mark.slow)])
    def test_it_is_noticed_before_the_optimizer_step_and_names_step_and_rows(
        self, llama: BaseModel, begin_training: Begin, finish: Finish, count: int
    ) -> None:
        source = random.Random(count)
        for number in range(count):
            training = begin_training(llama, PLAN, seed=number, preferences=number % 3 == 2)
            steps = source.randrange(5)
            list(train(llama, {"t": training}, {"t": steps}))
            place = source.randrange(training.adapter.flat.numel())
            training.adapter.flat[place] = source.choice([math.nan, math.inf, -math.inf])
            rows = tuple(one.row for one in training.task.batch(steps))
            before, tokens = content(training), training.tokens
            ((name, error),) = finish(llama, {"t": training})
            assert isinstance(error, NonFiniteLoss)
            assert (name, error.step, error.rows) == ("t", steps + 1, rows)
            assert content(training) == before
            assert (training.step, training.tokens) == (steps, tokens)

    @pytest.mark.parametrize("rate", [1e6, 1e30])
    def test_the_others_do_not_notice_one_whose_rate_is_far_too_large(
        self, llama: BaseModel, begin_training: Begin, finish: Finish, rate: float
    ) -> None:
        plans = {
            "a": replace(PLAN, learning_rate=rate),
            "b": replace(PLAN, rank=8, prompt_loss_weight=0.1),
            "c": replace(PLAN, batch_size=5),
        }
        together = {name: begin_training(llama, one) for name, one in plans.items()}
        events = finish(llama, together)
        assert {event[0] for event in events if isinstance(event, tuple)} <= {"a"}
        for name in ("b", "c"):
            alone = begin_training(llama, plans[name])
            assert told_of(name, events) == finish(llama, {name: alone})
            assert content(together[name]) == content(alone)

    def test_a_gradient_that_is_no_number_stops_too_though_the_loss_is_one(
        self, llama: BaseModel, begin_training: Begin, finish: Finish
    ) -> None:
        # B = 0 hides an overflow of A x in the loss as long as it is finite.
        training = begin_training(llama, PLAN)
        training.adapter.flat[:8] = 1e38
        before = content(training)
        ((_, error),) = finish(llama, {"t": training})
        assert isinstance(error, NonFiniteLoss)
        assert content(training) == before


class TestSudden:
    def test_a_loss_far_above_the_recent_ones_is_told(
        self, llama: BaseModel, begin_training: Begin, finish: Finish
    ) -> None:
        training = begin_training(llama, Plan(learning_rate=2e-2, epochs=60, batch_size=5, rank=8))
        events = finish(llama, {"t": training}, 50)
        assert not any(event.sudden for event in events if isinstance(event, Progress))
        training.adapter.flat.mul_(-3)
        (progress,) = finish(llama, {"t": training}, 51)
        assert isinstance(progress, Progress)
        assert progress.loss > 5 * sorted(event.loss for event in events[-20:] if isinstance(event, Progress))[10]
        assert progress.sudden

    def test_before_there_are_enough_losses_to_compare_none_is_sudden(
        self, llama: BaseModel, begin_training: Begin, finish: Finish
    ) -> None:
        training = begin_training(llama, Plan(learning_rate=1e-3, epochs=60, batch_size=5))
        training.recent_losses.extend([1e-6] * 19)
        (early,) = finish(llama, {"t": training}, 1)
        (next_one,) = finish(llama, {"t": training}, 2)
        assert isinstance(early, Progress) and not early.sudden
        assert isinstance(next_one, Progress) and next_one.sudden


def test_plans_that_differ_in_epochs_alone_are_one_training_read_off_earlier(
    llama: BaseModel, begin_training: Begin, finish: Finish
) -> None:
    long = begin_training(llama, replace(PLAN, epochs=4))
    short = begin_training(llama, replace(PLAN, epochs=1))
    finish(llama, {"short": short})
    finish(llama, {"long": long}, short.task.steps)
    assert content(long) == content(short)


def test_a_sequence_beyond_the_context_names_both_numbers(llama: BaseModel) -> None:
    example = Example(row=0, prompt="a " * 200, completion="b", source=Source(file="rows.csv", line=2))
    with pytest.raises(DataError, match=rf"The row has \d{{3}} tokens; the base reads at most {CONTEXT}"):
        llama.encoder.example(example)


def test_rows_as_long_as_the_context_are_trained_on(llama: BaseModel, finish: Finish) -> None:
    ids = tuple(range(3, 3 + CONTEXT))
    rows = tuple(Encoded(row=row, ids=ids, prompt_length=CONTEXT // 2) for row in range(2))
    training = begin(llama, Task(plan=replace(PLAN, epochs=1), seed=0, train=rows, valid=rows))
    (progress,) = finish(llama, {"t": training})
    assert isinstance(progress, Progress) and math.isfinite(progress.loss)


def test_no_training_and_targets_already_reached_are_no_events(llama: BaseModel, begin_training: Begin) -> None:
    empty: Mapping[str, Training] = {}
    assert list(train(llama, empty, {})) == []
    assert list(train(llama, {"t": begin_training(llama, PLAN)}, {"t": 0})) == []
