from __future__ import annotations

import errno
import fcntl
import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import replace
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fewtune.engine import workers
from fewtune.engine.base_model import BaseModel
from fewtune.engine.likelihood import measure
from fewtune.engine.trainer import train
from fewtune.engine.training import Training
from fewtune.engine.workers import Workers
from fewtune.errors import DataError, FewtuneError, TrainingError
from fewtune.types import Plan
from standin.processes import forkserver
from standin.worker_process import Base, hold_lock_and_work, pid

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere threads compute")

LARGE = 300_000
"""Numbers of an answer that no pipe holds at once."""


@pytest.fixture
def base() -> Base:
    return Base()


@pytest.fixture
def two(base: Base, monkeypatch: pytest.MonkeyPatch) -> Workers:
    monkeypatch.setattr(workers, "cores", lambda: 2)
    return Workers(base, on_cpu=True)


def pids(of: Workers) -> set[int]:
    """The children, each asked while the others are busy."""
    return {future.result() for future in [of.submit(pid, 0.1) for _ in range(of.count)]}


def wait_until(true: Callable[[], bool], seconds: float = 20.0) -> bool:
    """Whether it came true in time; generous, since the machine may be busy."""
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.01)
    return true()


def is_gone(number: int) -> bool:
    """Ended, or a zombie that its parent has yet to ask for."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError as error:
        assert error.errno in (errno.ENOENT, errno.ESRCH)
        return True


def can_lock(path: Path) -> bool:
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def doubled(_base: Any, numbers: np.ndarray) -> np.ndarray:
    return numbers * 2


def refuse(_base: Any) -> None:
    raise DataError("No.", where="rows.csv:3", fix="Mend it.")


def die(_base: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_while_answering(_base: Any) -> np.ndarray:
    from multiprocessing.connection import Connection

    def half(self: Any, content: Any) -> None:
        os.write(self.fileno(), bytes(content)[: len(content) // 2])
        os.kill(os.getpid(), signal.SIGKILL)

    Connection._send = half  # type: ignore[attr-defined,method-assign]
    return np.ones(LARGE)


class TestComputing:
    def test_arguments_and_results_of_any_size_come_through(self, two: Workers) -> None:
        arrays = [np.arange(LARGE) + number for number in range(6)]
        futures = [two.submit(doubled, array) for array in arrays]
        assert all(np.array_equal(future.result(), array * 2) for future, array in zip(futures, arrays, strict=True))

    def test_each_core_has_a_child_that_is_not_this_process(self, two: Workers) -> None:
        assert len(pids(two)) == two.count == 2
        assert os.getpid() not in pids(two)

    def test_children_compute_with_one_thread(self, two: Workers) -> None:
        assert two.submit(lambda_free_threads).result() == 1

    def test_an_error_comes_back_as_it_was_raised_and_the_child_lives_on(self, two: Workers) -> None:
        before = pids(two)
        with pytest.raises(DataError) as caught:
            two.submit(refuse).result()
        assert (caught.value.where, caught.value.fix) == ("rows.csv:3", "Mend it.")
        assert "in refuse" in caught.value.__notes__[0]
        assert pids(two) == before

    def test_ctrl_c_is_for_the_parent_alone(self, two: Workers) -> None:
        before = pids(two)
        future = two.submit(pid, 0.5)
        for number in before:
            os.kill(number, signal.SIGINT)
        assert future.result() in before
        assert pids(two) == before


def lambda_free_threads(_base: Any) -> int:
    return torch.get_num_threads()


class TestKilled:
    @pytest.mark.parametrize("how", [die, die_while_answering])
    def test_a_killed_child_is_an_error_and_not_a_wait(self, two: Workers, how: Callable[[Any], Any]) -> None:
        with pytest.raises(TrainingError, match=r"worker process was killed.*out of memory.* resume"):
            two.submit(how).result(timeout=60)

    def test_one_killed_while_it_waits_is_noticed_with_the_next_work(self, two: Workers) -> None:
        for number in pids(two):
            os.kill(number, signal.SIGKILL)
        futures = [two.submit(pid) for _ in range(4)]
        for future in futures:
            with pytest.raises(TrainingError):
                future.result(timeout=60)

    def test_later_work_is_given_to_new_children_and_the_old_ones_end(self, two: Workers) -> None:
        before = pids(two)
        with pytest.raises(TrainingError):
            two.submit(die).result(timeout=60)
        assert len(pids(two)) == 2
        assert pids(two).isdisjoint(before)
        assert wait_until(lambda: all(map(is_gone, before)))

    def test_a_training_ends_with_that_error_leaves_no_job_and_can_be_gone_on_with(
        self, llama: BaseModel, begin_training: Callable[..., Training], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        futures: list[Future[Any]] = []
        submit = Workers.submit

        def spy(self: Workers, *job: Any) -> Future[Any]:
            futures.append(submit(self, *(job if len(futures) != 9 else (die,))))
            return futures[-1]

        plan = Plan(learning_rate=1e-2, epochs=1, batch_size=2, rank=4)
        trainings, alone = ({name: begin_training(llama, plan, seed=name) for name in range(3)} for _ in range(2))
        ends = dict.fromkeys(trainings, 3)
        with monkeypatch.context() as patch:
            patch.setattr(Workers, "submit", spy)
            with pytest.raises(TrainingError, match="killed"):
                list(train(llama, trainings, ends))
        assert all(future.done() for future in futures)
        for _ in (*train(llama, trainings, ends), *train(llama, alone, ends)):
            pass
        for name, training in alone.items():
            assert torch.equal(trainings[name].adapter.flat, training.adapter.flat)

    def test_with_their_parent_killed_children_end_and_let_go_of_its_locks(self, tmp_path: Path) -> None:
        context = forkserver()
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=hold_lock_and_work, args=(tmp_path / "lock", theirs))
        process.start()
        theirs.close()
        children: list[int] = ours.recv()
        assert not can_lock(tmp_path / "lock")
        process.kill()
        process.join()
        assert wait_until(lambda: can_lock(tmp_path / "lock") and all(map(is_gone, children)))
        process.close()
        ours.close()


class TestNothingIsLeftBehind:
    def test_children_end_with_the_base_that_they_work_for(
        self, llama: BaseModel, encode: Callable[[BaseModel], Any]
    ) -> None:
        rows = encode(llama)
        gc.collect()
        before, open_before = set(active_children()), descriptors()
        gc.disable()
        try:
            for _ in range(6):
                # Without a cycle: memory of bases is large, and must not wait for the collector.
                other = replace(llama)
                measure(other, rows)
                children = {child.pid for child in set(active_children()) - before}
                assert len(children) == other.workers.count
                del other
                assert wait_until(lambda children=children: all(map(is_gone, children)))
        finally:
            gc.enable()
        assert set(active_children()) <= before
        assert wait_until(lambda: descriptors() <= open_before)

    def test_neither_zombies_nor_descriptors_nor_threads_pile_up_over_killed_children(self, base: Base) -> None:
        of = Workers(base, on_cpu=True)
        pids(of)
        gc.collect()
        children, open_before = len(active_children()), descriptors()
        for _ in range(5):
            with pytest.raises(TrainingError):
                of.submit(die).result(timeout=60)
            pids(of)
        assert wait_until(lambda: len(active_children()) <= children and descriptors() <= open_before)

    def test_a_base_whose_work_is_cancelled_midway_leaves_nothing(self, two: Workers, base: Base) -> None:
        numbers = pids(two)
        futures = [two.submit(pid, 0.2) for _ in range(6)]
        for future in futures:
            future.cancel()
        assert wait_until(lambda: all(future.done() for future in futures))
        assert sum(future.cancelled() for future in futures) >= 3
        assert pids(two) == numbers

    def test_several_bases_at_once_do_not_hold_each_other_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(workers, "cores", lambda: 2)
        bases = [Base() for _ in range(3)]
        pools: Mapping[int, Workers] = {number: Workers(one, on_cpu=True) for number, one in enumerate(bases)}
        numbers = {number: pids(pool) for number, pool in pools.items()}
        assert len(set.union(*numbers.values())) == 6
        # The first one's children are known to the later ones' and end all the same.
        with pytest.raises(TrainingError):
            pools[0].submit(die_while_answering).result(timeout=60)
        assert pids(pools[1]) == numbers[1]
        assert pids(pools[2]) == numbers[2]


def counting(_base: Any, end: int) -> Iterator[int]:
    yield from range(1, end)


def counting_and_refusing(_base: Any) -> Iterator[int]:
    yield 1
    raise DataError("No.", where="rows.csv:3", fix="Mend it.")


def counting_slowly(_base: Any) -> Iterator[int]:
    for number in range(1, 10_000):
        time.sleep(0.01)
        yield number


class TestStreams:
    def test_values_come_in_order_and_the_child_is_free_afterwards(self, two: Workers) -> None:
        for _ in range(3):
            stream = two.stream(counting, 50)
            assert stream is not None
            assert list(stream.rest()) == list(range(1, 50))
            stream.close()
        assert len(pids(two)) == 2

    def test_one_child_is_always_left_for_other_work(self, two: Workers) -> None:
        stream = two.stream(counting_slowly)
        assert stream is not None
        assert two.stream(counting, 3) is None
        assert two.submit(pid, 0).result() != os.getpid()
        stream.close()
        assert two.stream(counting, 3) is not None

    def test_closed_midway_it_ends_and_later_work_is_not_mixed_up_with_it(self, two: Workers) -> None:
        stream = two.stream(counting_slowly)
        assert stream is not None
        assert next(stream.rest()) == 1
        stream.close()
        assert len(pids(two)) == 2
        again = two.stream(counting, 4)
        assert again is not None
        assert list(again.rest()) == [1, 2, 3]
        again.close()

    def test_an_error_comes_after_the_values_before_it(self, two: Workers) -> None:
        stream = two.stream(counting_and_refusing)
        assert stream is not None
        values = stream.rest()
        assert next(values) == 1
        with pytest.raises(DataError, match=r"No\."):
            next(values)
        stream.close()
        assert len(pids(two)) == 2

    def test_a_killed_child_is_an_error_and_not_a_wait(self, two: Workers) -> None:
        known = pids(two)
        stream = two.stream(counting_slowly)
        assert stream is not None
        for number in known:
            os.kill(number, signal.SIGKILL)
        with pytest.raises(TrainingError, match="killed"):
            list(stream.rest())
        stream.close()
        assert pids(two).isdisjoint(known)


def test_every_error_of_the_tree_survives_the_way_to_another_process() -> None:
    import pickle

    def kinds(kind: type[FewtuneError]) -> list[type[FewtuneError]]:
        return [kind, *(below for one in kind.__subclasses__() for below in kinds(one))]

    for kind in kinds(FewtuneError):
        if kind.__module__ == "fewtune.errors":
            again = pickle.loads(pickle.dumps(kind("What.", where="here", fix="Do.")))
            assert str(again) == "here: What. Do."
