from __future__ import annotations

import math
import re
import subprocess
import sys
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest

from fewtune.experiment import notebook
from fewtune.experiment.notebook import NotebookWatch, in_notebook, watch_in_notebook, watched
from fewtune.experiment.progress import Answering, Failed, Note, Stage, Training, unwatched

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)> \x1b[31m & \"'"


class Screen:
    """The output of a cell, its time told by hand."""

    def __init__(self) -> None:
        self.html: list[str] = []
        self.text: list[str] = []
        self.now = 0.0

    def show(self, html: str, text: str) -> None:
        self.html.append(html)
        self.text.append(text)

    def watch(self) -> NotebookWatch:
        return watch_in_notebook(self.show, clock=lambda: self.now)


@pytest.fixture
def screen() -> Screen:
    return Screen()


def step(epoch: float, *, trial: str = "t1", label: str = "rate 0.002, batch 4", **changes: float | None) -> Training:
    told: dict[str, float | None] = {
        "loss": 3.0 - epoch / 4,
        "valid_loss": None,
        "seconds_left": 30.0,
        "usd": None,
        **changes,
    }
    return Training(trial=trial, label=label, epoch=epoch, epochs=2, done=epoch / 2, tokens_per_second=1234.5, **told)  # type: ignore[arg-type]


def test_a_stage_is_shown_at_once_and_steps_in_between_now_and_then(screen: Screen) -> None:
    watch = screen.watch()
    watch(Stage(name="train", text="Training 1 trial"))
    for number in range(100):
        screen.now = number / 10
        watch(step(number / 50))
    assert 6 <= len(screen.html) <= 8
    watch(Stage(name="report", text="Writing the report"))
    assert "Writing the report" in screen.html[-1]


def test_a_training_stage_shows_share_speed_time_left_and_curves(screen: Screen) -> None:
    watch = screen.watch()
    watch(Stage(name="train", text="Training 1 trial"))
    screen.now = 5.0
    watch(step(1.0))
    for told in ("50%", "1,234 tokens/s", "30 s left", 'aria-valuenow="50.0"', "<svg"):
        assert told in screen.html[-1]
    assert "50% · 30 s left · 1,234 tokens/s" in screen.text[-1]


def test_unknown_speed_and_time_are_left_out(screen: Screen) -> None:
    watch = screen.watch()
    watch(Training(**{**step(0.5, seconds_left=None).__dict__, "tokens_per_second": 0.0}))
    assert screen.text[-1] == "25%"


def test_answering_shows_which_system_is_asked(screen: Screen) -> None:
    watch = screen.watch()
    watch(Answering(system="few-shot", done=3, of=12))
    assert "few-shot: 3 of 12" in screen.html[-1] and 'aria-valuenow="25.0"' in screen.html[-1]


def test_a_finished_run_keeps_its_stages_and_curves_without_a_bar(screen: Screen) -> None:
    watch = screen.watch()
    watch(Stage(name="train", text="Training 1 trial"))
    watch(step(2.0, valid_loss=2.4))
    screen.now = 80.0
    watch.end(finished=True)
    assert "✓ Training 1 trial · 1 min 20 s" in screen.text[-1]
    assert "<svg" in screen.html[-1] and "progressbar" not in screen.html[-1]


def test_a_stopped_run_is_not_shown_as_finished(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notebook, "in_notebook", lambda: True)
    monkeypatch.setattr(notebook, "watch_in_notebook", screen.watch)
    with pytest.raises(KeyboardInterrupt), watched(None) as watch:
        watch(Stage(name="train", text="Training 1 trial"))
        raise KeyboardInterrupt
    assert screen.text[-1].startswith("✗ Training 1 trial")


def test_hostile_text_is_shown_and_never_obeyed(screen: Screen) -> None:
    watch = screen.watch()
    watch(Stage(name="prepare", text=HOSTILE))
    watch(Note(text=HOSTILE))
    watch(step(1.0, label=HOSTILE, valid_loss=2.5))
    watch(Answering(system=HOSTILE, done=1, of=2))
    watch.end(finished=False)
    for html, text in zip(screen.html, screen.text, strict=True):
        assert "<script" not in html and "<img" not in html
        assert "\x1b" not in html and "\x1b" not in text
    assert "&lt;script&gt;" in screen.html[-1]


def test_a_trial_has_one_validation_point_for_each_time_it_was_measured(screen: Screen) -> None:
    watch = screen.watch()
    watch(Stage(name="train", text="Training 1 trial"))
    for epoch, valid_loss in ((0.5, None), (1.0, 2.5), (1.5, 2.5), (2.0, 2.25)):
        watch(step(epoch, valid_loss=valid_loss))
    watch.end(finished=True)
    found = re.search("<svg.*</svg>", screen.html[-1], re.DOTALL)
    assert found
    dots = [one for one in ElementTree.fromstring(found.group()).iter() if one.tag.endswith("}circle")]
    filled = [one for one in dots if one.get("fill") != "none"]
    assert len(filled) == 2


def test_trials_are_named_by_what_sets_them_apart(screen: Screen) -> None:
    watch = screen.watch()
    for trial, label in (("t1", "rate 0.002, batch 4"), ("t2", "rate 0.005, batch 4")):
        watch(step(1.0, trial=trial, label=label))
    watch.end(finished=True)
    assert ">rate 0.002<" in screen.html[-1] and ">rate 0.005<" in screen.html[-1]


def test_a_loss_that_is_no_number_leaves_the_rest_of_the_curve(screen: Screen) -> None:
    watch = screen.watch()
    for epoch, loss in ((0.5, 3.0), (1.0, math.nan), (1.5, None), (2.0, 2.0)):
        watch(step(epoch, loss=loss))
    watch.end(finished=True)
    assert "<svg" in screen.html[-1] and "NaN" not in screen.html[-1]


def test_a_given_watcher_is_used_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notebook, "in_notebook", lambda: True)
    with watched(unwatched) as watch:
        assert watch is unwatched


def test_only_a_kernel_counts_as_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    def shell(**made: object) -> SimpleNamespace:
        return SimpleNamespace(get_ipython=lambda: SimpleNamespace(**made))

    for ipython, expected in (
        (None, False),
        (SimpleNamespace(get_ipython=lambda: None), False),
        (shell(), False),
        (shell(kernel=None), False),
        (shell(kernel=object()), True),
    ):
        monkeypatch.setitem(sys.modules, "IPython", ipython)
        assert in_notebook() is expected


def test_a_script_neither_needs_nor_loads_ipython() -> None:
    script = (
        "import sys; sys.modules['IPython'] = None\n"
        "from fewtune.experiment import face\n"
        "from fewtune.experiment.notebook import in_notebook\n"
        "print(in_notebook())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_best_trial_so_far_and_how_many_are_done_stand_below_the_bar(screen: Screen) -> None:
    watch = screen.watch()
    watch(step(1.0, valid_loss=3.4))
    watch(step(2.0, valid_loss=3.6))
    screen.now = 5.0
    watch(step(1.0, trial="t2", label="rate 0.005, batch 4", valid_loss=float("nan")))
    assert "best so far 3.400, t1 rate 0.002, batch 4 after 1 epoch · 1 trial done" in screen.text[-1]


def test_a_table_of_trials_is_redrawn_with_the_best_one_marked(screen: Screen) -> None:
    watch = screen.watch()
    watch(Stage(name="train", text="Training 12 trials"))
    for number in range(1, 13):
        watch(step(1.0, trial=f"t{number}", label=f"rate {number / 1000}, batch 4", valid_loss=3.0 + number / 10))
    watch(Failed(trial="t2", text="t2: no finite loss"))
    screen.now = 5.0
    watch(step(1.5, valid_loss=3.1))
    html = screen.html[-1]
    best, failed = re.findall("<tr.*?</tr>", html)[1:3]
    assert "best" in best and ">★<" in best and ">t1<" in best and ">3.100<" in best and ">failed<" in failed
    assert html.count("<table") == 1 and html.count("<tr") == 9 and "and 4 more" in html
    assert "t2: no finite loss" in screen.text[-1]


def test_drawing_takes_a_small_share_of_the_time(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[float] = []

    def slow(*_: object) -> str:
        screen.now += 1.0
        drawn.append(screen.now)
        return "<svg/>"

    monkeypatch.setattr(notebook, "live_curves", slow)
    watch = screen.watch()
    for number in range(1, 1001):
        screen.now += 0.1
        watch(step(number / 500))
    assert 2 <= len(drawn) <= 0.06 * screen.now
