from __future__ import annotations

import math
from dataclasses import replace

import pytest

from fewtune.experiment.progress import Answering, Failed, Rung, Stage, Training
from fewtune.experiment.standing import Standing, apart


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def standing(clock: Clock) -> Standing:
    return Standing(clock=clock)


def step(
    trial: str, epoch: float, valid_loss: float | None = None, *, loss: float | None = 1.0, **told: float
) -> Training:
    values: dict[str, float | None] = {"done": 0.1, "tokens_per_second": 0.0, "seconds_left": None, "usd": None, **told}
    return Training(
        trial=trial,
        label=f"rate 0.00{trial[1:]}, batch 4",
        epoch=epoch,
        epochs=4,
        loss=loss,
        valid_loss=valid_loss,
        **values,
    )  # type: ignore[arg-type]


def test_trials_that_a_rung_has_ended_count_as_done_though_nothing_else_was_told_of_them(standing: Standing) -> None:
    standing.add(step("t1", 1.0, 0.9))
    standing.add(Rung(text="After 1 epoch, 1 of 3 trials go on.", ended=("t2", "t3")))
    standing.add(step("t1", 4.0, 0.8))
    assert standing.line == "best so far 0.800, t1 rate 0.001, batch 4 after 4 epochs · 3 trials done"


def test_the_best_trial_is_the_one_whose_lowest_loss_is_lowest_not_the_one_that_is_lowest_now(
    standing: Standing,
) -> None:
    for event in (step("t1", 1.0, 2.0), step("t1", 2.0, 3.0), step("t2", 1.0, 2.5), step("t3", 1.0, math.nan)):
        standing.add(event)
    assert standing.best is not None and standing.best.id == "t1"
    assert standing.best.numbers == ("2.0/4", "1.00", "2.000")


def test_a_training_on_the_rows_of_another_fold_is_never_the_best_so_far(standing: Standing) -> None:
    for event in (step("t1", 1.0, 0.9), step("t2", 1.0, 0.8), replace(step("t1-e1-f2-s1", 1.0, 0.3), competes=False)):
        standing.add(event)
    assert standing.best is not None and standing.best.id == "t2"
    assert {one.id for one in standing.chosen(1)} == {"t2"}


def test_a_trial_is_training_resting_done_dropped_or_failed(standing: Standing, clock: Clock) -> None:
    for trial in ("t1", "t2", "t3"):
        standing.add(step(trial, 1.0))
    standing.add(step("t4", 4.0))
    standing.add(Rung(text="", ended=("t2", "t4")))
    standing.add(Failed(trial="t3", text="t3: no finite loss"))
    assert [one.state(clock()) for one in standing.trials.values()] == ["training", "dropped", "failed", "done"]
    clock.now = 60.0
    assert standing.trials["t1"].state(clock()) == "resting"


def test_a_trial_that_is_trained_on_after_its_end_is_no_longer_done(standing: Standing, clock: Clock) -> None:
    standing.add(Rung(text="", ended=("t1",)))
    standing.add(step("t1", 2.0, 1.0))
    assert standing.trials["t1"].state(clock()) == "training" and "0 trials done" in standing.line


def test_of_many_trials_the_best_and_those_in_training_are_chosen_in_the_order_of_their_beginning(
    standing: Standing, clock: Clock
) -> None:
    for number in range(1, 41):
        standing.add(step(f"t{number}", 1.0, 5.0 - number / 10))
    clock.now = 60.0
    for trial in ("t3", "t5"):
        standing.add(step(trial, 1.5))
    assert [one.id for one in standing.chosen(6)] == ["t3", "t5", "t37", "t38", "t39", "t40"]
    assert len(standing.chosen(100)) == 40


def test_what_a_stage_tells_is_forgotten_with_the_next_one(standing: Standing, clock: Clock) -> None:
    standing.add(Stage(name="train", text="Training"))
    standing.add(step("t1", 1.0, seconds_left=40.0, tokens_per_second=1900.0, usd=0.25))
    assert standing.detail == "40 s left · 1,900 tokens/s · $0.25 so far" and standing.share == 0.1
    clock.now = 80.0
    standing.add(Stage(name="evaluate", text="Answering"))
    assert [part.line for part in standing.parts] == ["Training · 1 min 20 s", "Answering"]
    assert standing.detail == "" and standing.share is None
    standing.add(Answering(system="few-shot", done=3, of=12))
    assert standing.detail == "few-shot: 3 of 12" and standing.share == 0.25


def test_labels_tell_what_sets_trials_apart() -> None:
    assert apart(["rate 0.002, batch 4", "rate 0.005, batch 4"]) == ["rate 0.002", "rate 0.005"]
    assert apart(["rate 0.002, batch 4"]) == ["rate 0.002, batch 4"] and apart([]) == []
