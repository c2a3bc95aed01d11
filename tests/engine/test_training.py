from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
import torch

from fewtune.data.encode import Encoded
from fewtune.engine.base_model import BaseModel
from fewtune.engine.likelihood import measure
from fewtune.engine.lora import Adapter
from fewtune.engine.trainer import Event, Progress, train
from fewtune.engine.training import Task, Training, begin, branch, side_by_side
from fewtune.errors import TrainingError
from fewtune.types import Plan

Begin = Callable[..., Training]
Finish = Callable[..., list[Event]]

PLAN = Plan(learning_rate=1e-2, epochs=4, batch_size=2, rank=4, warmup_steps=2)


class TestBegin:
    def test_a_training_from_an_adapter_begins_with_it_and_leaves_it_as_it_is(
        self, llama: BaseModel, begin_training: Begin, random_adapter: Callable[..., Adapter], finish: Finish
    ) -> None:
        parent = random_adapter(llama)
        before = parent.flat.clone()
        training = begin_training(llama, PLAN, adapter=parent)
        assert torch.equal(training.adapter.flat, parent.flat)
        finish(llama, {"t": training}, 2)
        assert torch.equal(parent.flat, before)
        assert not torch.equal(training.adapter.flat, before)

    def test_the_reference_of_preferences_is_what_the_training_starts_from(
        self,
        llama: BaseModel,
        begin_training: Begin,
        random_adapter: Callable[..., Adapter],
        rejected: Callable[[BaseModel], Mapping[int, Encoded]],
    ) -> None:
        parent = random_adapter(llama)
        for adapter in (None, parent):
            training = begin_training(llama, PLAN, adapter=adapter, preferences=True)
            for row, (better, worse) in training.reference.items():
                (one,) = measure(llama, [training.task.train[row]], adapter)
                (other,) = measure(llama, [rejected(llama)[row]], adapter)
                assert better == pytest.approx(sum(one.log_likelihoods), abs=1e-4)
                assert worse == pytest.approx(sum(other.log_likelihoods), abs=1e-4)

    def test_a_rank_above_the_width_is_refused(self, llama: BaseModel, begin_training: Begin) -> None:
        with pytest.raises(TrainingError, match="Rank 64 is above the width of layer"):
            begin_training(llama, replace(PLAN, rank=64))


class TestBatches:
    def test_an_epoch_reads_each_row_once_whatever_is_accumulated(
        self, llama: BaseModel, begin_training: Begin
    ) -> None:
        for plan in (PLAN, replace(PLAN, batch_size=1, gradient_accumulation=3), replace(PLAN, batch_size=7)):
            task = begin_training(llama, plan).task
            for epoch in range(2):
                steps = range(epoch * task.steps_per_epoch, (epoch + 1) * task.steps_per_epoch)
                assert sorted(one.row for step in steps for one in task.batch(step)) == list(range(5))


class TestAverage:
    def test_the_result_is_the_mean_of_the_last_epochs_adapters(
        self, llama: BaseModel, begin_training: Begin, finish: Finish
    ) -> None:
        plain, averaging = (begin_training(llama, replace(PLAN, averaged_checkpoints=count)) for count in (1, 3))
        ends: list[torch.Tensor] = []
        for event in train(llama, {"t": plain}, {"t": 12}):
            assert isinstance(event, Progress)
            if event.validation is not None:
                ends.append(plain.adapter.flat.clone())
        events = finish(llama, {"t": averaging})
        assert len(ends) == 4
        assert plain.result is plain.adapter
        assert torch.equal(averaging.adapter.flat, plain.adapter.flat)
        torch.testing.assert_close(averaging.result.flat, torch.stack(ends[1:]).mean(dim=0))
        last = events[-1]
        assert isinstance(last, Progress) and last.validation is not None
        assert list(last.validation) == measure(llama, averaging.task.valid, averaging.result)


class TestBranch:
    def test_a_branch_goes_on_as_its_trunk_would_and_leaves_it_as_it_is(
        self, llama: BaseModel, begin_training: Begin, finish: Finish
    ) -> None:
        trunk, whole = (begin_training(llama, PLAN) for _ in range(2))
        finish(llama, {"t": trunk}, 5)
        branched = branch(trunk, trunk.task)
        before = trunk.adapter.flat.clone()
        finish(llama, {"b": branched})
        assert (trunk.step, branched.step) == (5, 12)
        assert torch.equal(trunk.adapter.flat, before)
        finish(llama, {"t": trunk, "w": whole})
        assert torch.equal(branched.adapter.flat, whole.adapter.flat)
        assert torch.equal(trunk.adapter.flat, whole.adapter.flat)

    def test_a_cooled_branch_is_the_training_that_was_cooled_from_the_beginning(
        self, llama: BaseModel, begin_training: Begin, finish: Finish
    ) -> None:
        trunk = begin_training(llama, PLAN)
        cooled = begin_training(llama, replace(PLAN, epochs=2, cooldown=0.5))
        finish(llama, {"t": trunk}, 3)
        branched = branch(trunk, cooled.task)
        finish(llama, {"b": branched, "c": cooled, "t": trunk})
        assert torch.equal(branched.adapter.flat, cooled.adapter.flat)
        assert not torch.equal(branched.adapter.flat, trunk.adapter.flat)


class TestSideBySide:
    def test_several_move_into_common_memory_in_which_each_keeps_its_numbers(
        self, llama: BaseModel, begin_training: Begin
    ) -> None:
        trainings = [begin_training(llama, PLAN, seed=seed) for seed in range(3)]
        before = [training.adapter.flat.clone() for training in trainings]
        weights, first, second = side_by_side(trainings)
        weights.add_(1)
        first.add_(2)
        second.add_(3)
        for training, flat in zip(trainings, before, strict=True):
            assert torch.equal(training.adapter.flat, flat + 1)
            name, (a, _) = next(iter(training.adapter.matrices.items()))
            assert a.data_ptr() == training.adapter.flat.data_ptr(), name
            assert (training.first_moment == 2).all() and (training.second_moment == 3).all()

    def test_one_alone_is_left_where_it_is(self, llama: BaseModel, begin_training: Begin) -> None:
        training = begin_training(llama, PLAN)
        weights, _, _ = side_by_side([training])
        assert weights.data_ptr() == training.adapter.flat.data_ptr()


def test_a_task_of_rows_and_plan_is_all_that_a_training_is_made_of(
    llama: BaseModel, encode: Callable[[BaseModel], tuple[Encoded, ...]], finish: Finish
) -> None:
    tasks = [Task(plan=PLAN, seed=seed, train=encode(llama), valid=()) for seed in (1, 1, 2)]
    trainings = {number: begin(llama, task) for number, task in enumerate(tasks)}
    finish(llama, trainings)
    assert torch.equal(trainings[0].adapter.flat, trainings[1].adapter.flat)
    assert not torch.equal(trainings[0].adapter.flat, trainings[2].adapter.flat)
