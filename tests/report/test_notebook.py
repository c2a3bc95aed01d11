from __future__ import annotations

import re
from dataclasses import replace

from fewtune.report.notebook import summary_html, trial_html
from fewtune.report.summary import Summary


def test_a_fragment_has_the_verdict_the_tables_and_the_link(summary: Summary) -> None:
    fragment = summary_html(summary)
    assert "Use the tuned model" in fragment and "2.041" in fragment and "chosen" in fragment
    assert 'href="runs/episodes-7f3a/report.html"' in fragment


def test_a_fragment_brings_no_colours_scripts_or_page_of_its_own(any_summary: Summary) -> None:
    fragment = summary_html(any_summary)
    assert not re.search(r"color\s*:|background|<script|<style|<html|<body", fragment)
    assert "None" not in fragment


def test_hostile_text_is_shown_and_never_obeyed(hostile_summary: Summary) -> None:
    fragment = summary_html(hostile_summary)
    assert "<script" not in fragment and "<img" not in fragment and "\x1b" not in fragment
    assert 'href="javascript:' not in fragment


def test_an_absolute_path_is_linked_as_a_file(summary: Summary) -> None:
    fragment = summary_html(replace(summary, files={"report": "/home/me/my runs/report.html"}))
    assert 'href="file:///home/me/my%20runs/report.html"' in fragment


def test_a_run_without_a_page_has_no_link(summary: Summary) -> None:
    assert "href" not in summary_html(replace(summary, files={}))


def test_a_trial_shows_its_plan_its_loss_and_what_it_took(summary: Summary) -> None:
    trial = next(one for one in summary.trials if one.id == summary.chosen)
    fragment = trial._repr_html_()
    assert "<th" in fragment and "learning rate" in fragment and "validation loss" in fragment and "cost" in fragment
    assert "<b>" not in trial_html(replace(trial, plan={"rank": "<b>8"}, failure="<b>late"))


def test_a_summary_shows_itself_as_the_run_does_and_is_one_line_in_a_terminal(summary: Summary) -> None:
    assert summary._repr_html_() == summary_html(summary)
    assert repr(summary).startswith("Summary('") and "\n" not in repr(summary)
