from __future__ import annotations

from dataclasses import replace

from fewtune.report import data_page
from fewtune.report.summary import Summary


def test_the_page_shows_findings_changes_and_what_is_learnt(summary: Summary) -> None:
    page = data_page.render(summary.data, "pocket")
    assert "160 rows read = 153 kept" in page.replace("\u202f", " ")
    assert "Cells are separated by semicolons." in page
    assert "<mark> It goes &lt;out&gt;.</mark>" in page
    assert '<b class="stop" title="ends the answer; learnt">&lt;|end|&gt;</b>' in page
    assert "<del>␣</del>A title<del>␣</del>" in page.replace("\n", "")
    assert "<del>The last one</del>" in page


def test_a_cut_list_of_changes_says_where_the_rest_is(summary: Summary) -> None:
    page = data_page.render(replace(summary.data, changes_made=1200), "pocket")
    assert "all of them are in repairs.jsonl" in page and "1\u202f200 changes" in page


def test_a_repair_that_was_not_made_is_offered_with_its_option(summary: Summary) -> None:
    finding = replace(summary.data.findings[0], code="personal_data", repair=None, proposal="masked")
    page = data_page.render(replace(summary.data, findings=(finding,)), "pocket")
    assert "--repair personal_data" in page


def test_texts_of_the_data_stay_text(summary: Summary) -> None:
    change = replace(summary.data.changes[0], before=("<script>alert(1)</script>", "x"), after=None)
    page = data_page.render(replace(summary.data, changes=(change,)), "<b>pocket</b>")
    assert "<script>" not in page and "<b>pocket</b>" not in page


def test_rows_that_the_base_cannot_learn_are_counted_beside_what_is_learnt(summary: Summary) -> None:
    long, untrained = (
        replace(summary.data.findings[0], code=code, count=3) for code in ("too_long", "no_trained_turn")
    )
    page = data_page.render(replace(summary.data, findings=(long, untrained)), "pocket")
    assert "Lost: 3 rows too long for the base and 3 rows without any answer to learn." in page
    assert "Lost:" not in data_page.render(summary.data, "pocket")
