"""Runs that are followed by trackers: the same run, told as it goes, on from where it was, and when it is over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer

import fewtune
from fewtune import trackers
from fewtune.errors import InterruptedByUser, UsageError
from fewtune.experiment import tracking
from fewtune.experiment.interruption import Interruption
from fewtune.experiment.progress import Note, Progress, Training
from fewtune.store.runs import Runs
from fewtune.trackers.delivery import Patience

SMALL: dict[str, Any] = {"provider": "fake", "epochs": (1, 2), "learning_rate": (0.001, 0.003)}


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine may be busy: whoever waits for a tracker here waits long."""
    monkeypatch.setattr(tracking, "MEANWHILE", Patience(end=60.0, silence=240.0))


def curves(folder: Path, name: str = "train/loss") -> dict[str, list[tuple[int, float]]]:
    runs = EventMultiplexer(size_guidance={"scalars": 0}).AddRunsFromDirectory(str(folder / "tensorboard")).Reload()
    return {
        run: [(point.step, point.value) for point in runs.Scalars(run, name)]
        for run, tags in runs.Runs().items()
        if name in tags["scalars"]
    }


def stored(run: str, home: Path) -> Iterator[tuple[str, int, float]]:
    for point in Runs(home).points(run):
        if point.train_loss is not None:
            yield point.trial_id, point.step, point.train_loss


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEWTUNE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_what_a_tracker_shows_is_what_the_store_holds(few_rows: Path, home: Path) -> None:
    run = fewtune.run(few_rows, track=["tensorboard"], **SMALL)
    shown = curves(run.report_path.parent)
    assert {"t1", "t2"} <= set(shown)
    told = [(trial, step, pytest.approx(loss)) for trial, step, loss in stored(run.id, home)]
    assert sorted((trial, step, loss) for trial, points in shown.items() for step, loss in points) == told
    numbers = curves(run.report_path.parent, "test/tuned/loss")
    (tuned,) = [system for system in run.summary.systems if system.name == "tuned"]
    assert numbers["run"] == [(0, pytest.approx(tuned.metrics["loss"].value))]


def test_being_followed_is_no_part_of_what_a_run_is(few_rows: Path, home: Path) -> None:
    plain = fewtune.run(few_rows, **SMALL)
    notes: list[Progress] = []
    followed = fewtune.run(few_rows, track=["tensorboard"], watch=notes.append, **SMALL)
    assert followed.id == plain.id and not [one for one in notes if isinstance(one, Training)]
    told = {trial for trial, _, _ in stored(plain.id, home)}
    assert set(curves(plain.report_path.parent)) == told >= {"t1", "t2"}
    assert any("tensorboard --logdir" in one.text for one in notes if isinstance(one, Note))


def test_an_interrupted_run_goes_on_in_the_same_tracker_run(
    few_rows: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = 0

    def check(self: Interruption) -> None:
        nonlocal steps
        steps += 1
        if steps == 12:
            raise InterruptedByUser("Stopped.")

    with monkeypatch.context() as patch:
        patch.setattr(Interruption, "check", check)
        with pytest.raises(InterruptedByUser, match=r"fewtune resume few-\w+ --track tensorboard"):
            fewtune.run(few_rows, track=["tensorboard"], **SMALL)
    (record,) = fewtune.runs()
    assert record.state == "stopped"
    run = fewtune.resume(record.id, track=["tensorboard"])
    told = [(trial, step) for trial, step, _ in stored(run.id, home)]
    shown = curves(Path(record.folder))
    assert sorted((trial, step) for trial, points in shown.items() for step, _ in points) == told


def test_a_tracker_that_hangs_changes_nothing_in_a_run(
    few_rows: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = fewtune.run(few_rows, **SMALL).summary
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    kind = trackers.Kind(label="Deaf", factory="standin.trackers:Deaf", package="standin")
    monkeypatch.setitem(trackers.KINDS, "deaf", kind)
    monkeypatch.setattr(tracking, "MEANWHILE", Patience(end=1.0, alone=2.0))
    notes: list[Progress] = []
    out = home / "elsewhere"
    watched = fewtune.run(few_rows, track=["deaf"], out=out, watch=notes.append, **SMALL).summary
    assert (watched.verdict, watched.trials) == (plain.verdict, plain.trials)
    assert sum("Deaf is still busy" in one.text for one in notes if isinstance(one, Note)) == 1


def test_an_unknown_tracker_is_refused_before_the_data_is_read(home: Path) -> None:
    with pytest.raises(UsageError, match="no tracker 'neptun'"):
        fewtune.run("not-there.csv", track=["neptun"], provider="fake")
    assert not (home / "runs").exists()
