from __future__ import annotations

import json
import random
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from fewtune.engine import checkpoint, lora
from fewtune.engine.base_model import BaseModel
from fewtune.engine.lora import Adapter
from fewtune.engine.trainer import Task, Training, step
from fewtune.errors import FewtuneError, UnfinishedError, UsageError
from fewtune.types import Plan

PLAN = Plan(learning_rate=1e-2, epochs=3, batch_size=2, rank=2, alpha=4, warmup_steps=2)
Open = Callable[[Path], Training]


@pytest.fixture
def training(llama: BaseModel, begin_training: Callable[..., Training]) -> Training:
    return begin_training(llama, PLAN)


@pytest.fixture
def reopen(llama: BaseModel, training: Training) -> Open:
    """The same task as another process would open it."""
    task: Task = training.task
    return lambda folder: checkpoint.open_training(llama, task, folder)


@pytest.fixture
def two_points(llama: BaseModel, training: Training, tmp_path: Path) -> Path:
    """A folder with the resume points of steps 1 and 2."""
    folder = tmp_path / "trial"
    for _ in range(2):
        step(llama, "t", training)
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

    def test_the_matrices_in_use_are_those_that_came_back(
        self, llama: BaseModel, training: Training, reopen: Open, two_points: Path
    ) -> None:
        opened = reopen(two_points)
        assert step(llama, "t", opened).loss == step(llama, "t", training).loss
        assert torch.equal(opened.adapter.flat, training.adapter.flat)

    def test_the_last_two_points_are_kept(self, llama: BaseModel, training: Training, two_points: Path) -> None:
        for _ in range(3):
            step(llama, "t", training)
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
        self, llama: BaseModel, reopen: Open, two_points: Path
    ) -> None:
        for point in two_points.iterdir():
            (point / "state.json").unlink()
        (two_points / "resume-00000001").rename(two_points / "resume-00000007")
        opened = reopen(two_points)
        for _ in range(3):
            step(llama, "t", opened)
            checkpoint.save_training(opened, two_points)
        assert reopen(two_points).step == 3
        whole = [name for name in resume_points(two_points) if checkpoint.is_whole(two_points / name)]
        assert whole == ["resume-00000002", "resume-00000003"]

    def test_a_damaged_adapter_is_written_again(self, training: Training, tmp_path: Path) -> None:
        folder = tmp_path / "adapter"
        checkpoint.save_adapter(training.adapter, folder, "base")
        before = (folder / "adapter_model.safetensors").read_bytes()
        (folder / "adapter_model.safetensors").write_bytes(before[:-1])
        checkpoint.save_adapter(training.adapter, folder, "base")
        assert (folder / "adapter_model.safetensors").read_bytes() == before
        assert checkpoint.is_whole(folder)


class TestFullDisk:
    @pytest.mark.parametrize("limit", [10, 1000, 8000])
    def test_saving_asks_to_be_run_again_and_the_older_points_stay_whole(
        self, llama: BaseModel, training: Training, reopen: Open, two_points: Path, limit: int
    ) -> None:
        step(llama, "t", training)
        with disk_of(limit), pytest.raises(UnfinishedError, match="disk is full") as caught:
            checkpoint.save_training(training, two_points)
        assert caught.value.exit_code == 7
        assert resume_points(two_points) == ["resume-00000001", "resume-00000002"]
        assert reopen(two_points).step == 2

    @pytest.mark.parametrize("limit", [10, 1000, 8000])
    def test_an_adapter_is_whole_or_not_there(self, training: Training, tmp_path: Path, limit: int) -> None:
        with disk_of(limit), pytest.raises(UnfinishedError, match="could not save the adapter"):
            checkpoint.save_adapter(training.adapter, tmp_path / "adapter", "base")
        assert list(tmp_path.iterdir()) == []

    def test_once_there_is_room_again_the_point_is_written(
        self, llama: BaseModel, training: Training, reopen: Open, two_points: Path
    ) -> None:
        step(llama, "t", training)
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


def test_a_sealed_adapter_names_every_file_with_its_hash(training: Training, tmp_path: Path) -> None:
    checkpoint.save_adapter(training.adapter, tmp_path / "adapter", "base")
    manifest = json.loads((tmp_path / "adapter" / "manifest.json").read_text())
    assert sorted(manifest) == ["adapter_config.json", "adapter_model.safetensors"]
    assert all(len(digest) == 64 for digest in manifest.values())


def test_a_training_from_a_given_adapter_begins_with_it(
    llama: BaseModel, training: Training, random_adapter: Callable[..., Adapter], tmp_path: Path
) -> None:
    parent = random_adapter(llama, rank=2, alpha=4)
    checkpoint.save_adapter(parent, tmp_path / "parent", "base")
    opened = checkpoint.open_training(
        llama, training.task, tmp_path / "child", lora.open_adapter(tmp_path / "parent", llama)
    )
    assert torch.equal(opened.adapter.flat, parent.flat)
