from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from xml.etree import ElementTree

from fewtune.report import html, tables
from fewtune.report.afterwards import lines, trained_rows
from fewtune.report.sizes import sizes
from fewtune.report.summary import Interval, MoreData, RefitLine, SizeLine, Summary

Changed = Callable[..., Summary]

REFIT = RefitLine(
    id="refit-b2",
    plan={"epochs": 2},
    state="finished",
    failure=None,
    rows=134,
    tokens=17_000,
    seconds=12.0,
    usd=0.0,
    average=None,
)
MORE = MoreData(
    sentence="Twice the data would lower the loss by 0.05 ± 0.02.",
    factor=2.0,
    gain=0.05,
    interval=Interval(low=0.03, high=0.07),
    sizes=(
        SizeLine(rows=28, losses=(2.31, 2.35)),
        SizeLine(rows=57, losses=(2.2, 2.22)),
        SizeLine(rows=115, losses=(2.1,)),
    ),
)


def test_a_refit_is_told_as_what_is_kept_and_as_what_was_judged(changed: Changed) -> None:
    summary = changed(refit=REFIT)
    (line,) = lines(summary)
    assert "for 2 epochs on all 134 rows" in line
    assert "it is the one compared with the base" in line
    assert trained_rows(summary) == 134
    assert tables.system_meaning(summary, "tuned") == "the base trained on 134 rows of your data"
    assert "nothing has measured it" in next(lines(changed(refit=REFIT, systems=())))


def test_a_refit_that_failed_leaves_the_chosen_trial(changed: Changed) -> None:
    summary = changed(refit=replace(REFIT, state="failed", failure="The loss became infinite."))
    assert list(lines(summary)) == [
        "The training on all rows failed, so the chosen trial is kept: The loss became infinite."
    ]
    assert trained_rows(summary) == summary.data.train_rows


def test_the_outlook_is_told_with_the_losses_that_it_rests_on(changed: Changed) -> None:
    (line,) = lines(changed(more_data=MORE))
    assert line == f"{MORE.sentence} Validation loss by training rows: 2.330 with 28, 2.210 with 57, 2.100 with 115."


def test_the_chart_has_a_dot_for_each_training_and_fits_narrow_pages(changed: Changed) -> None:
    summary = changed(more_data=MORE)
    for width in (880, 350):
        drawn = sizes(summary, width)
        assert drawn is not None
        root = ElementTree.fromstring(drawn)
        assert float((root.get("viewBox") or "").split()[2]) <= width + 30
        assert MORE.sentence in (root.get("aria-label") or "")
        marks = [element for element in root.iter() if "mark-symbol" in (element.get("class") or "")]
        assert sum(len(mark) for mark in marks) == 5 + 1
    page = html.render(summary)
    assert "Would more data help?" in page


def test_where_nothing_was_fitted_there_is_no_chart(changed: Changed) -> None:
    told = MoreData(sentence="It cannot be told.", factor=None, gain=None, interval=None, sizes=())
    assert sizes(changed(more_data=told), 880) is None
    assert sizes(changed(), 880) is None
    assert list(lines(changed(more_data=told))) == ["It cannot be told."]
    assert "Would more data help?" not in html.render(changed(more_data=told))
