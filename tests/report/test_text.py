from __future__ import annotations

import io
from dataclasses import replace

from rich.console import Console

from fewtune.report.summary import Summary
from fewtune.report.text import render_text


def printed(summary: Summary, **options: object) -> str:
    file = io.StringIO()
    render_text(summary, Console(file=file, width=80, **options))  # type: ignore[arg-type]
    return file.getvalue()


def test_every_run_can_be_read_at_80_columns(any_summary: Summary) -> None:
    short = replace(any_summary, files={}, command="fewtune run episodes.csv")
    lines = printed(short).splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in lines[0]


def test_the_verdict_comes_first_and_the_report_is_named(summary: Summary) -> None:
    lines = printed(summary).splitlines()
    assert lines[0].startswith("Use the tuned model")
    assert f"Report: {summary.files['report']}" in lines


def test_the_best_five_trials_are_shown(summary: Summary) -> None:
    text = printed(summary)
    assert "The best 5 of 9 trials." in text
    assert text.index("chosen") < text.index("tied    0.01")


def test_the_numbers_stand_with_their_intervals_and_words(summary: Summary) -> None:
    text = printed(summary)
    assert "2.041" in text and "1.951–2.131" in text and "better" in text
    assert "the base given 3 examples in its prompt" in text


def test_no_color_is_honoured(summary: Summary, monkeypatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    text = printed(summary, force_terminal=True)
    assert "\x1b[3" not in text and "\x1b[1;3" not in text


def test_hostile_text_reaches_no_terminal_and_is_no_markup(hostile_summary: Summary) -> None:
    text = printed(hostile_summary)
    assert "\x1b" not in text and "\x07" not in text and "\u202e" not in text
    assert "[bold]" in text
    text.encode("utf-8")


def test_one_row_cannot_be_told(of_one_row: Summary) -> None:
    text = printed(of_one_row)
    assert "cannot be" in text and "±" not in text


def test_a_failed_trial_says_why(summary: Summary) -> None:
    failed = replace(summary.trials[0], state="failed", failure="The loss became infinite.", valid_loss=None)
    assert "The loss became infinite." in printed(replace(summary, trials=(failed, *summary.trials[1:])))


def test_forgetting_the_judge_and_failed_metrics_are_told_in_the_terminal_too(evaluated: Summary) -> None:
    text = " ".join(printed(evaluated).split())
    for said in (
        "General English: It has forgotten some: 1.204 bits a byte before tuning",
        "gpt-judge preferred the tuned model on 30 rows",
        "ZeroDivisionError: division by zero.",
    ):
        assert said in text, said
