from __future__ import annotations

import re
from dataclasses import replace

from fewtune.report.notebook import summary_html
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
