"""Progress as a terminal, a log and a quiet caller meet it: real processes, a real pseudo-terminal."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

RUN = """
import os, signal, sys, time
from fewtune.cli import progress
from fewtune.experiment.progress import Note, Stage, Training
progress._SECONDS_BETWEEN_LINES = 0.05

def step(number):
    return Training(trial="t1", label="rate 0.001, batch 4", epoch=number / 10, epochs=1, loss=3.0, valid_loss=2.5,
                    done=number / 10, tokens_per_second=100.0, seconds_left=9.0, usd=0.0)

try:
    with progress.watching("quiet" in sys.argv) as watch:
        watch(Stage(name="train", text="Training 1 trial"))
        watch(Note(text="a note"))
        for number in range(10):
            watch(step(number))
            time.sleep(0.06)
            if number == 7 and "interrupted" in sys.argv:
                os.kill(os.getpid(), signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
print("the command's own words")
"""
HIDDEN, SHOWN = "\x1b[?25l", "\x1b[?25h"


def in_terminal(*words: str, **environment: str) -> tuple[str, str]:
    """What was written to a terminal that stderr is, and what to stdout, which is a pipe."""
    ours, theirs = pty.openpty()
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TERM")}
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, *words],
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={**kept, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24", **environment},
        text=True,
    )
    os.close(theirs)
    told = b""
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError:
            break
        if not piece:
            break
        told += piece
    os.close(ours)
    out, _ = process.communicate(timeout=60)
    return told.decode(), out


def test_a_terminal_sees_curves_that_move_and_gets_its_cursor_back() -> None:
    told, out = in_terminal()
    assert told.count(HIDDEN) == 1 and told.rindex(SHOWN) > told.index(HIDDEN)
    assert "★" in told and "9 s left · 100 tokens/s · $0.00 so far" in told and "a note" in told
    assert "✓" in told.splitlines()[-1] + told.splitlines()[-2]
    assert out == "the command's own words\n"


def test_an_interrupted_run_gives_the_cursor_back_and_says_that_it_did_not_end() -> None:
    told, out = in_terminal("interrupted")
    assert told.rindex(SHOWN) > told.rindex(HIDDEN) and "✗" in told[told.rindex("Training") - 20 :]
    assert out.splitlines()[0] == "interrupted"


def test_no_color_is_obeyed() -> None:
    coloured = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-8]|9[0-7])[;m]")
    assert coloured.search(in_terminal()[0])
    assert not coloured.search(in_terminal(NO_COLOR="1")[0])


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}])
def test_a_terminal_that_cannot_move_or_draw_gets_plain_lines(environment: dict[str, str]) -> None:
    told, _ = in_terminal(**environment)
    assert "\x1b" not in told and "Training 1 trial" in told and "epoch 0.5/1" in told


def test_a_log_has_one_plain_line_now_and_then(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", RUN], capture_output=True, text=True, check=True, timeout=60)
    lines = done.stderr.splitlines()
    assert lines[:2] == ["Training 1 trial", "a note"] and "\x1b" not in done.stderr
    line = (
        r" +\d+%  9 s left · \$0.00 so far · t1 rate 0.001, batch 4 · epoch 0.\d/1 · loss 3.00 · valid 2.500 · 100 .*"
    )
    assert len(lines) >= 6 and all(re.fullmatch(line, told) for told in lines[2:])


def test_a_quiet_caller_hears_nothing() -> None:
    assert in_terminal("quiet") == ("", "the command's own words\n")
