"""A tracker that fails, hangs or is slow costs the run nothing; real processes, and trackers that misbehave."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fewtune import trackers
from fewtune.errors import UsageError
from fewtune.trackers.contract import Began, Ended, Table, TrialBegan, Values
from fewtune.trackers.delivery import Delivery, Patience, delivered

END = Ended(state="finished", numbers={})


def value(step: int) -> Values:
    return Values(trial="t1", step=step, seconds=0.0, values={"train/loss": 1.0})


@pytest.fixture
def began(tmp_path: Path) -> Began:
    return Began(run="orders-1", key="k", created=0.0, folder=tmp_path, config={})


@pytest.fixture(autouse=True)
def _misbehaving(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    for name in ("Deaf", "Absent", "Refusing", "Raising", "Crashing", "Slow"):
        kind = trackers.Kind(label=name, factory=f"standin.trackers:{name}", package="standin")
        monkeypatch.setitem(trackers.KINDS, name.lower(), kind)


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def deliver(began: Began, told: list[str]) -> Iterator[Callable[..., Delivery]]:
    """Deliveries whose processes are gone after the test."""
    made: list[Delivery] = []

    def start(name: str, **patience: float) -> Delivery:
        made.append(Delivery(name, began, told.append, Patience(**{"alone": 2.0, **patience})))  # type: ignore[arg-type]
        return made[-1]

    yield start
    for delivery in made:
        delivery._process.kill()
        delivery._process.wait()


def close(delivery: Delivery, seconds: float) -> float:
    """How long it took."""
    before = time.monotonic()
    delivery.close(before + seconds)
    return time.monotonic() - before


@pytest.mark.parametrize("name", ["deaf", "absent"])
def test_a_tracker_that_hangs_holds_up_neither_the_run_nor_its_end(
    name: str, deliver: Callable[..., Delivery], told: list[str]
) -> None:
    delivery = deliver(name)
    before = time.monotonic()
    for step in range(2000):
        delivery.take(value(step))
    assert time.monotonic() - before < 2.0
    assert close(delivery, 1.0) < 3.0
    assert "is still busy with" in told[-1] and "of 2,001 events" in told[-1]


def test_a_process_that_was_left_behind_ends_by_itself(deliver: Callable[..., Delivery]) -> None:
    delivery = deliver("deaf", alone=0.5)
    delivery.take(value(1))
    close(delivery, 1.0)
    delivery._process.wait(20)


def test_a_silent_tracker_is_given_up_with_one_warning(deliver: Callable[..., Delivery], told: list[str]) -> None:
    delivery = deliver("absent", silence=1.0)
    time.sleep(1.2)
    for step in range(10):
        delivery.take(value(step))
    close(delivery, 1.0)
    assert told == [
        "Absent has not answered for 1 s. The run goes on without it.",
        "Absent: 11 of 11 events did not arrive.",
    ]
    assert delivery._process.wait(5) != 0


def test_one_that_is_merely_idle_is_not_silent(deliver: Callable[..., Delivery], told: list[str]) -> None:
    delivery = deliver("slow", silence=1.0)
    until = time.monotonic() + 20
    while not told and time.monotonic() < until:
        time.sleep(0.2)
        delivery._tell_news()
    time.sleep(1.5)
    delivery.take(value(1))
    close(delivery, 10.0)
    assert told == ["Slow: nowhere"]


def test_a_tracker_that_raises_is_told_of_once_and_gets_the_rest(
    deliver: Callable[..., Delivery], told: list[str], began: Began
) -> None:
    delivery = deliver("raising")
    for event in (TrialBegan(trial="t1", config={}), value(1), value(2), value(3), END):
        delivery.take(event)
    close(delivery, 30.0)
    assert told == [
        "Raising: nowhere",
        "Raising has failed: ValueError: no room for values. The run goes on.",
        "Raising: 3 of 6 events did not arrive.",
    ]
    assert (began.folder / "kept").read_text().split() == ["TrialBegan", "Ended"]


def test_a_tracker_that_cannot_begin_says_why_in_one_line(deliver: Callable[..., Delivery], told: list[str]) -> None:
    delivery = deliver("refusing")
    delivery.take(value(1))
    close(delivery, 30.0)
    assert told[0] == "Refusing cannot be used: PermissionError: the key is not known. The run goes on without it."
    assert told[1:] == ["Refusing: 2 of 2 events did not arrive."]


def test_a_tracker_that_crashes_takes_nothing_with_it(
    deliver: Callable[..., Delivery], told: list[str], began: Began
) -> None:
    delivery = deliver("crashing")
    delivery.take(value(1))
    delivery._process.wait(30)
    delivery._listener.join(5)
    delivery.take(value(2))
    close(delivery, 5.0)
    log = began.folder / "trackers" / "crashing.log"
    assert told == [
        "Crashing: nowhere",
        f"Crashing has ended. The run goes on without it. Its log: {log}",
        "Crashing: 2 of 3 events did not arrive.",
    ]


def test_values_beyond_the_room_are_dropped_and_counted_but_never_results(
    deliver: Callable[..., Delivery], told: list[str], began: Began
) -> None:
    delivery = deliver("slow", waiting=5)
    for step in range(100):
        delivery.take(value(step))
    table = Table(name="predictions", columns=(), rows=())
    delivery.take(table)
    delivery.take(END)
    close(delivery, 30.0)
    assert told[-1] == "Slow: 96 of 103 events did not arrive."
    assert [line.split()[0] for line in (began.folder / "kept").read_text().splitlines()] == ["Table", "Ended"]


def test_a_run_that_is_over_waits_for_room_in_place_of_dropping(
    deliver: Callable[..., Delivery], told: list[str]
) -> None:
    delivery = deliver("slow", waiting=5, drops=False)
    for step in range(20):
        delivery.take(value(step))
    close(delivery, 30.0)
    assert told == ["Slow: nowhere"]


def test_a_run_that_is_killed_is_told_as_stopped(deliver: Callable[..., Delivery], began: Began) -> None:
    delivery = deliver("slow")
    delivery.take(TrialBegan(trial="t1", config={}))
    close(delivery, 30.0)
    delivery._process.wait(10)
    assert (began.folder / "kept").read_text().startswith("Ended")


def test_a_tracker_has_no_key_of_another_service_no_stdin_and_no_terminal(
    deliver: Callable[..., Delivery], began: Began, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("OPENAI_API_KEY", "FEWTUNE_REFERENCE_KEY", "FEWTUNE_JUDGE_KEY", "WANDB_API_KEY"):
        monkeypatch.setenv(name, "sk-secret")
    delivery = deliver("slow")
    delivery.take(END)
    close(delivery, 30.0)
    assert (began.folder / "kept").read_text() == "Ended ['WANDB_API_KEY'] b''\n"
    assert capfd.readouterr() == ("", "")
    assert "printed by a library" in (began.folder / "trackers" / "slow.log").read_text()


def test_several_trackers_hear_the_same_and_one_that_hangs_leaves_the_other_alone(
    began: Began, told: list[str]
) -> None:
    with delivered(["deaf", "raising", "raising"], began, told.append, Patience(end=6.0, alone=12.0)) as track:
        track(TrialBegan(trial="t1", config={}))
        track(value(1))
        track(END)
    assert (began.folder / "kept").read_text().split() == ["TrialBegan", "Ended"]
    assert sum("still busy" in text for text in told) == 1


def test_the_end_is_told_to_all_before_any_is_waited_for(began: Began, told: list[str]) -> None:
    with delivered(["deaf", "slow"], began, told.append, Patience(end=0.2, alone=10.0)) as track:
        track(value(1))
    log = began.folder / "kept"
    until = time.monotonic() + 20
    while not log.exists() and time.monotonic() < until:
        time.sleep(0.1)
    assert log.read_text().startswith("Ended")


def test_without_a_name_there_is_no_process_and_no_file(began: Began, told: list[str]) -> None:
    with delivered([], began, told.append, Patience()) as track:
        track(value(1))
    assert os.listdir(began.folder) == [] and told == []


def test_what_is_unknown_or_not_installed_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"no tracker 'neptun'.*wandb, mlflow"):
        trackers.check(["neptun"])
    missing = trackers.Kind(label="Missing", factory="x:y", package="not_installed_anywhere")
    monkeypatch.setitem(trackers.KINDS, "missing", missing)
    with pytest.raises(UsageError, match=r"pip install 'fewtune\[missing\]'"):
        trackers.check(["wandb", "missing"])
