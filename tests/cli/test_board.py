"""The live view as lines of a terminal."""

from __future__ import annotations

import pytest
from rich.console import Console

from fewtune.cli.board import board
from fewtune.experiment.progress import Answering, Rung, Stage, Training
from fewtune.experiment.standing import Standing


def step(number: int, epoch: float, label: str | None = None) -> Training:
    return Training(
        trial=f"t{number}",
        label=label or f"rate {number / 1000}, batch 4",
        epoch=epoch,
        epochs=4,
        loss=4.0 - epoch / 2,
        valid_loss=None if epoch < 1 else 3.0 + number / 100,
        done=epoch / 4,
        tokens_per_second=1900.0,
        seconds_left=100.0,
        usd=0.5,
    )


def sweep(trials: int, epochs: float = 2.0) -> Standing:
    standing = Standing()
    standing.add(Stage(name="prepare", text="Reading a file"))
    standing.add(Stage(name="train", text=f"Training {trials} trials, at most {4 * trials} epochs in all"))
    for tenth in range(1, int(10 * epochs) + 1):
        for number in range(1, trials + 1):
            standing.add(step(number, tenth / 10))
    return standing


def lines(standing: Standing, width: int, height: int = 24) -> list[str]:
    console = Console(width=width, height=height, force_terminal=False)
    with console.capture() as captured:
        console.print(board(standing, width, height))
    return [line.rstrip() for line in captured.get().splitlines()]


@pytest.mark.parametrize("width", [30, 40, 60, 78, 80, 200])
@pytest.mark.parametrize("trials", [1, 3, 50])
def test_no_line_is_wider_and_no_picture_higher_than_the_terminal(width: int, trials: int) -> None:
    for height in (10, 24, 60):
        shown = lines(sweep(trials), width, height)
        assert max(map(len, shown)) <= width and len(shown) < height


def test_a_table_tells_state_epoch_losses_and_curve_of_each_trial_and_marks_the_best() -> None:
    standing = sweep(3)
    standing.add(Rung(text="", ended=("t3",)))
    shown = lines(standing, 80)
    assert "▸ Training 3 trials, at most 12 epochs in all" in shown and any("50%" in line for line in shown)
    assert "  1 min 40 s left · 1,900 tokens/s · $0.50 so far" in shown
    (head,) = [line for line in shown if "curve" in line]
    assert head.split() == ["trial", "plan", "state", "epoch", "loss", "valid", "curve"]
    best, middle, dropped = shown[-3:]
    assert best.split()[:9] == ["★", "t1", "rate", "0.001", "training", "2.0/4", "3.00", "3.010", best.split()[-1]]
    assert set(best.split()[-1]) <= set("▁▂▃▄▅▆▇█") and len(best.split()[-1]) == 8
    assert "★" not in middle + dropped and "dropped" in dropped


def test_of_many_trials_it_says_how_many_more_there_are() -> None:
    shown = lines(sweep(50), 80)
    assert shown[-1] == "  and 38 more" and "t1 " in "".join(shown)


def test_a_narrow_terminal_has_the_best_the_epochs_and_the_curve() -> None:
    shown = lines(sweep(2), 40)
    (head,) = [line for line in shown if "curve" in line]
    assert head.split() == ["trial", "epoch", "valid", "curve"]
    assert shown[-2].split()[:4] == ["★", "t1", "2.0/4", "3.010"]


def test_a_terminal_of_a_few_lines_has_stages_and_bar() -> None:
    shown = lines(sweep(3), 80, 9)
    assert not any("curve" in line for line in shown) and any("50%" in line for line in shown)


def test_while_rows_are_answered_the_best_trial_stays_in_one_line() -> None:
    standing = sweep(3)
    standing.add(Stage(name="evaluate", text="Answering 12 held-out rows"))
    standing.add(Answering(system="few-shot", done=3, of=12))
    shown = lines(standing, 80)
    assert shown[-2] == "  few-shot: 3 of 12" and shown[-1].startswith("  best so far 3.010, t1")


def test_names_are_text_and_never_markup_or_control() -> None:
    standing = Standing()
    standing.add(Stage(name="train", text="[red]Training\x1b[2J"))
    standing.add(step(1, 1.0, label="[bold]rate\x1b[31m"))
    shown = "\n".join(lines(standing, 80))
    assert "[red]Training" in shown and "[bold]rate" in shown and "\x1b" not in shown
