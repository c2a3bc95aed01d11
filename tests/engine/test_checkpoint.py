from __future__ import annotations

import hashlib
import json
import random
import resource
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fewtune.engine import checkpoint
from fewtune.engine.adapter_folder import open_adapter
from fewtune.engine.base_model import BaseModel
from fewtune.engine.lora import Adapter
from fewtune.engine.trainer import Event, train
from fewtune.engine.training import Task, Training
from fewtune.errors import FewtuneError, UnfinishedError, UsageError
from fewtune.types import Plan
from standin import engine_process
from standin.engine_process import PLACES, Death
from standin.processes import forkserver

PLAN = Plan(learning_rate=1e-2, epochs=3, batch_size=2, rank=2, alpha=4, warmup_steps=2)
Open = Callable[[Path], Training]
Step = Callable[[Training], None]


@pytest.fixture
def training(llama: BaseModel, begin_training: Callable[..., Training]) -> Training:
    return begin_training(llama, PLAN)


@pytest.fixture
def step(llama: BaseModel) -> Step:
    """One step further."""

    def go_on(training: Training) -> None:
        list(train(llama, {"t": training}, {"t": training.step + 1}))

    return go_on


@pytest.fixture
def reopen(llama: BaseModel, training: Training) -> Open:
    """The same task as another process would open it."""
    task: Task = training.task
    return lambda folder: checkpoint.open_training(llama, task, folder)


@pytest.fixture
def two_points(step: Step, training: Training, tmp_path: Path) -> Path:
    """A folder with the resume points of steps 1 and 2."""
    folder = tmp_path / "trial"
    for _ in range(2):
        step(training)
        checkpoint.save_training(training, folder)
    return folder


def resume_points(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def damage(folder: Path, random_source: random.Random) -> None:
    """Cut a file of the folder short, flip one of its bits, or take it away."""
    path = random_source.choice(sorted(folder.iterdir()))
    content = bytearray(path.read_bytes())
    kind = random_source.choice(["cut", "flip", "flip", "remove"])
    if kind == "cut":
        path.write_bytes(content[: random_source.randrange(len(content))])
    elif kind == "flip":
        content[random_source.randrange(len(content))] ^= 1 << random_source.randrange(8)
        path.write_bytes(content)
    else:
        path.unlink()


@contextmanager
def disk_of(limit: int) -> Iterator[None]:
    """No file may grow beyond so many bytes: the write fails, as on a full disk. Python ignores SIGXFSZ."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class TestResuming:
    def test_where_nothing_was_saved_training_begins_at_the_beginning(
        self, training: Training, reopen: Open, tmp_path: Path
    ) -> None:
        opened = reopen(tmp_path / "nothing")
        assert opened.step == 0
        assert torch.equal(opened.adapter.flat, training.adapter.flat)

    def test_what_was_saved_comes_back_in_every_bit(self, training: Training, reopen: Open, two_points: Path) -> None:
        opened = reopen(two_points)
        assert (opened.step, opened.tokens, opened.seconds) == (2, training.tokens, training.seconds)
        for name in ("first_moment", "second_moment"):
            assert torch.equal(getattr(opened, name), getattr(training, name))
        assert torch.equal(opened.adapter.flat, training.adapter.flat)

    def test_the_next_step_is_the_one_that_would_have_come(
        self, step: Step, training: Training, reopen: Open, two_points: Path
    ) -> None:
        opened = reopen(two_points)
        step(opened)
        step(training)
        assert torch.equal(opened.adapter.flat, training.adapter.flat)

    def test_the_last_two_points_are_kept(self, step: Step, training: Training, two_points: Path) -> None:
        for _ in range(3):
            step(training)
            checkpoint.save_training(training, two_points)
        assert resume_points(two_points) == ["resume-00000004", "resume-00000005"]

    def test_saving_the_same_step_again_changes_nothing(self, training: Training, two_points: Path) -> None:
        path = two_points / "resume-00000002" / "state.safetensors"
        before = path.stat().st_mtime_ns
        checkpoint.save_training(training, two_points)
        assert path.stat().st_mtime_ns == before


class TestDamage:
    @pytest.mark.parametrize("count", [50, pytest.param(500, marks=pytest.mark.slow)])
    def test_a_damaged_point_is_noticed_and_the_one_before_is_used(
        self, reopen: Open, two_points: Path, tmp_path: Path, count: int
    ) -> None:
        for seed in range(count):
            folder = shutil.copytree(two_points, tmp_path / "damaged")
            damage(folder / "resume-00000002", random.Random(seed))
            assert not checkpoint.is_whole(folder / "resume-00000002"), seed
            assert reopen(folder).step == 1, seed
            shutil.rmtree(folder)

    def test_with_both_points_damaged_training_begins_anew(self, reopen: Open, two_points: Path) -> None:
        for point in two_points.iterdir():
            (point / "state.safetensors").write_bytes(b"")
        assert reopen(two_points).step == 0

    def test_a_point_that_was_never_sealed_does_not_count(self, reopen: Open, two_points: Path) -> None:
        (two_points / "resume-00000002").rename(two_points / "resume-00000009.partial")
        assert reopen(two_points).step == 1

    def test_an_empty_manifest_seals_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "manifest.json").write_text("{}")
        assert not checkpoint.is_whole(tmp_path)

    def test_going_on_replaces_the_damaged_point_and_keeps_two_whole_ones(
        self, step: Step, reopen: Open, two_points: Path
    ) -> None:
        for point in two_points.iterdir():
            (point / "state.json").unlink()
        (two_points / "resume-00000001").rename(two_points / "resume-00000007")
        opened = reopen(two_points)
        for _ in range(3):
            step(opened)
            checkpoint.save_training(opened, two_points)
        assert reopen(two_points).step == 3
        whole = [name for name in resume_points(two_points) if checkpoint.is_whole(two_points / name)]
        assert whole == ["resume-00000002", "resume-00000003"]

    def test_a_damaged_point_is_not_one_of_the_two_that_are_kept(
        self, step: Step, training: Training, reopen: Open, two_points: Path
    ) -> None:
        (two_points / "resume-00000002" / "state.json").unlink()
        for _ in range(2):
            step(training)
        checkpoint.save_training(training, two_points)
        assert resume_points(two_points) == ["resume-00000001", "resume-00000004"]
        (two_points / "resume-00000004" / "state.json").unlink()
        assert reopen(two_points).step == 1

    def test_what_a_killed_process_left_half_written_is_removed(
        self, step: Step, training: Training, two_points: Path
    ) -> None:
        shutil.copytree(two_points / "resume-00000002", two_points / "resume-00000009.partial")
        step(training)
        checkpoint.save_training(training, two_points)
        assert resume_points(two_points) == ["resume-00000002", "resume-00000003"]

    def test_a_damaged_adapter_is_written_again(self, llama: BaseModel, training: Training, tmp_path: Path) -> None:
        folder = tmp_path / "adapter"
        checkpoint.save_adapter(training.adapter, folder, llama)
        before = (folder / "adapter_model.safetensors").read_bytes()
        (folder / "adapter_model.safetensors").write_bytes(before[:-1])
        checkpoint.save_adapter(training.adapter, folder, llama)
        assert (folder / "adapter_model.safetensors").read_bytes() == before
        assert checkpoint.is_whole(folder)


class TestFullDisk:
    @pytest.mark.parametrize("limit", [10, 1000, 8000])
    def test_saving_asks_to_be_run_again_and_the_older_points_stay_whole(
        self, step: Step, training: Training, reopen: Open, two_points: Path, limit: int
    ) -> None:
        step(training)
        with disk_of(limit), pytest.raises(UnfinishedError, match="disk is full") as caught:
            checkpoint.save_training(training, two_points)
        assert caught.value.exit_code == 7
        assert resume_points(two_points) == ["resume-00000001", "resume-00000002"]
        assert reopen(two_points).step == 2

    @pytest.mark.parametrize("limit", [10, 1000, 8000])
    def test_an_adapter_is_whole_or_not_there(
        self, llama: BaseModel, training: Training, tmp_path: Path, limit: int
    ) -> None:
        with disk_of(limit), pytest.raises(UnfinishedError, match="could not save the adapter"):
            checkpoint.save_adapter(training.adapter, tmp_path / "adapter", llama)
        assert list(tmp_path.iterdir()) == []

    def test_once_there_is_room_again_the_point_is_written(
        self, step: Step, training: Training, reopen: Open, two_points: Path
    ) -> None:
        step(training)
        with disk_of(1000), pytest.raises(UnfinishedError):
            checkpoint.save_training(training, two_points)
        checkpoint.save_training(training, two_points)
        assert reopen(two_points).step == 3

    def test_a_place_that_cannot_be_written_is_named(self, training: Training, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(UsageError, match="checkpoint") as caught:
            checkpoint.save_training(training, tmp_path / "file")
        assert str(tmp_path / "file") in str(caught.value.where)
        assert isinstance(caught.value, FewtuneError)


def test_a_sealed_adapter_names_every_file_with_its_hash(llama: BaseModel, training: Training, tmp_path: Path) -> None:
    checkpoint.save_adapter(training.adapter, tmp_path / "adapter", llama)
    manifest = json.loads((tmp_path / "adapter" / "manifest.json").read_text())
    assert sorted(manifest) == ["adapter_config.json", "adapter_model.safetensors"]
    assert all(len(digest) == 64 for digest in manifest.values())


def test_a_training_from_a_given_adapter_begins_with_it_and_is_resumed_with_its_own(
    llama: BaseModel,
    step: Step,
    begin_training: Callable[..., Training],
    random_adapter: Callable[..., Adapter],
    tmp_path: Path,
) -> None:
    parent = random_adapter(llama, rank=2, alpha=4)
    checkpoint.save_adapter(parent, tmp_path / "parent", llama)
    task = begin_training(llama, PLAN, preferences=True).task
    opened, again = (
        checkpoint.open_training(llama, task, tmp_path / "child", open_adapter(tmp_path / "parent", llama))
        for _ in range(2)
    )
    assert torch.equal(opened.adapter.flat, parent.flat)
    step(opened)
    checkpoint.save_training(opened, tmp_path / "child")
    again = checkpoint.open_training(llama, task, tmp_path / "child", open_adapter(tmp_path / "parent", llama))
    assert again.step == 1
    # What preferences are measured against is still where the training started.
    assert again.reference == opened.reference
    step(opened)
    step(again)
    assert torch.equal(again.adapter.flat, opened.adapter.flat)


def test_the_ends_of_more_than_ten_epochs_come_back_in_their_order(
    llama: BaseModel, begin_training: Callable[..., Training], finish: Callable[..., list[Event]], tmp_path: Path
) -> None:
    task = begin_training(llama, replace(PLAN, epochs=16, batch_size=5, averaged_checkpoints=12)).task
    whole = checkpoint.open_training(llama, task, tmp_path)
    finish(llama, {"t": whole}, 13)
    checkpoint.save_training(whole, tmp_path)
    again = checkpoint.open_training(llama, task, tmp_path)
    assert len(again.epoch_ends) == 12
    finish(llama, {"w": whole, "a": again})
    assert torch.equal(again.result.flat, whole.result.flat)


class TestKilled:
    """Processes that really die, of SIGKILL, at a chosen place or at any time."""

    def tasks(self, base: BaseModel, begin_training: Callable[..., Training], epochs: int) -> dict[str, Task]:
        """Several batches to a step and a mean of epochs; preferences, a cooldown and the upper half alone."""
        accumulating = Plan(learning_rate=1e-2, epochs=epochs, batch_size=1, gradient_accumulation=2, rank=2)
        upper = Plan(learning_rate=1e-2, epochs=epochs, batch_size=2, rank=4, adapt_top=0.5, cooldown=0.5)
        return {
            "texts": begin_training(base, replace(accumulating, averaged_checkpoints=2)).task,
            "preferences": begin_training(base, upper, preferences=True).task,
        }

    @pytest.mark.parametrize("kills", [5, pytest.param(50, marks=pytest.mark.slow)])
    def test_killed_anywhere_and_resumed_the_final_adapters_are_those_of_a_training_left_alone(
        self,
        llama: BaseModel,
        folder_of: Callable[[str], Path],
        begin_training: Callable[..., Training],
        tmp_path: Path,
        kills: int,
    ) -> None:
        tasks = self.tasks(llama, begin_training, epochs=kills)
        base, source = folder_of("llama"), random.Random(kills)
        for number in range(kills):
            assert run(base, tasks, tmp_path / "killed", self.death(number, source)) == -9, number
        assert run(base, tasks, tmp_path / "killed") == 0
        assert run(base, tasks, tmp_path / "whole") == 0
        for name in tasks:
            assert digest(tmp_path / "killed" / name) == digest(tmp_path / "whole" / name), name

    def death(self, number: int, source: random.Random) -> Death | float:
        """In turn at every kind of place, and at any time after some steps."""
        if number % 9 == 8:
            return source.uniform(0.0, 0.03)
        # So late that the steps before it are saved, so early that many deaths fit into one training.
        calls = {"an epoch's end": 1, "the optimizer": 2, "a piece of a batch is given to a worker": 9}
        place = PLACES[number % 9]
        return Death(place=place, call=source.randint(1, 3) + calls.get(place, 1), after=source.random() < 0.5)


def run(base: Path, tasks: dict[str, Task], folder: Path, death: Death | float | None = None) -> int | None:
    """Train in another process to the end or to its death, or kill it so many seconds after its third step."""
    context = forkserver()
    ours, theirs = context.Pipe(duplex=False)
    at = death if isinstance(death, Death) else None
    process = context.Process(target=engine_process.train, args=(base, tasks, folder, theirs, at))
    process.start()
    theirs.close()
    steps = 0
    with suppress(EOFError):
        while True:
            ours.recv()
            steps += 1
            if isinstance(death, float) and steps == 3:
                time.sleep(death)
                process.kill()
    process.join()
    code = process.exitcode
    process.close()
    ours.close()
    return code


def digest(folder: Path) -> str:
    return hashlib.sha256((folder / "adapter" / "adapter_model.safetensors").read_bytes()).hexdigest()
