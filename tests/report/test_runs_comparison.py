from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from html import unescape
from io import StringIO

from rich.console import Console

from fewtune.report import runs_page, runs_tables
from fewtune.report.evaluation_part import AnswerLine
from fewtune.report.runs_comparison import RunDifference, RunsComparison, compare_runs
from fewtune.report.runs_text import render_runs
from fewtune.report.summary import Interval, MetricValue, PredictionLine, Summary


def run(summary: Summary, name: str, losses: Mapping[int, float], sha256: str = "one") -> Summary:
    """A run whose tuned model has these losses by held-out row."""
    value = sum(losses.values()) / len(losses) if losses else 0.0
    tuned = {"loss": MetricValue(value=value, interval=Interval(low=value - 0.1, high=value + 0.1))}
    return replace(
        summary,
        id=name,
        data=replace(summary.data, sha256=sha256),
        systems=tuple(replace(one, metrics=tuned, rows=len(losses)) for one in summary.systems if one.name == "tuned")
        if losses
        else (),
        differences=(),
        predictions=tuple(
            PredictionLine(
                source=f"rows.csv:{row}",
                prompt=f"prompt {row}",
                expected="x",
                answers={"tuned": name},
                details={"tuned": AnswerLine(samples=(name,), metrics={"loss": loss})},
            )
            for row, loss in losses.items()
        ),
    )


def only(found: RunsComparison) -> RunDifference:
    (difference,) = found.differences
    return difference


def test_runs_that_share_rows_are_compared_row_by_row(summary: Summary) -> None:
    hard = {row: 1.0 + row for row in range(20)}
    first = run(summary, "first", hard)
    second = run(summary, "second", {row: loss - 0.05 - 0.001 * (row % 3) for row, loss in hard.items()})
    found = compare_runs((first, second))
    difference = only(found)
    assert (difference.paired, difference.rows, difference.verdict) == (True, 20, "better")
    assert found.notes == () and len(found.predictions) == 20
    assert found.predictions[0].answers == {"first": "first", "second": "second"}
    conclusion = runs_tables.conclusion(found, (first, second))
    assert conclusion.startswith("Use second: loss −0.051") and "on the 20 rows that both held out" in conclusion


def test_only_rows_that_both_held_out_are_paired_and_that_is_said(summary: Summary) -> None:
    first = run(summary, "first", {row: 1.0 + row for row in range(20)})
    second = run(summary, "second", {row: 1.0 + row for row in range(10, 30)})
    found = compare_runs((first, second))
    assert (only(found).rows, only(found).verdict) == (10, "tied")
    assert found.notes == ("first and second are compared on the 10 rows that both held out, of 20 and 20.",)


def test_a_row_or_two_that_both_held_out_are_not_compared_in_place_of_all(summary: Summary) -> None:
    first = run(summary, "first", {row: 1.0 + row for row in range(20)})
    second = run(summary, "second", {row: 1.0 + row for row in range(18, 38)})
    found = compare_runs((first, second))
    assert (only(found).paired, only(found).value.interval is not None) == (False, True)
    assert found.notes == (
        "first and second held out different rows, all or nearly all of them: "
        "they are compared by their intervals, not row by row.",
    )


def test_runs_of_other_data_are_compared_by_intervals_and_not_ranked(summary: Summary) -> None:
    first = run(summary, "first", dict.fromkeys(range(20), 1.0))
    second = run(summary, "second", dict.fromkeys(range(20), 0.5), sha256="two")
    found = compare_runs((first, second))
    difference = only(found)
    assert (difference.paired, difference.verdict) == (False, "better")
    interval = difference.value.interval
    assert interval is not None and abs(interval.high - interval.low - 2 * 0.02**0.5) < 1e-9
    assert "judged on different data" in found.notes[0] and found.predictions == ()
    assert runs_tables.conclusion(found, (first, second)).startswith("They cannot be ranked")


def test_runs_that_were_judged_by_other_references_are_said_to_be(summary: Summary) -> None:
    first, second = (run(summary, name, dict.fromkeys(range(20), 1.0)) for name in ("first", "second"))
    told = replace(second, settings={**second.settings, "reference_columns": ["also"]})
    (note,) = compare_runs((first, told)).notes
    assert note.startswith("first and second were judged by other further answers (--reference-column)")
    assert compare_runs((told, replace(first, settings={**first.settings, "reference_columns": ("also",)}))).notes == ()


def test_a_run_that_was_not_judged_is_said_to_be_so(summary: Summary) -> None:
    first, second = run(summary, "first", dict.fromkeys(range(20), 1.0)), run(summary, "second", {})
    found = compare_runs((first, second))
    assert found.differences == () and found.runs[1].rows == 0
    assert found.notes == ("second was not judged on held-out rows: its model cannot be compared.",)
    assert runs_tables.conclusion(found, (first, second)).startswith("Cannot be told")


def test_of_runs_that_are_tied_the_cheapest_is_named(summary: Summary) -> None:
    losses = {row: 1.0 + row for row in range(20)}
    first, second = run(summary, "first", losses), replace(run(summary, "second", losses), seconds=1.0)
    assert runs_tables.conclusion(compare_runs((first, second)), (first, second)).startswith(
        "Use second: by loss it is tied"
    )


def test_of_several_runs_each_has_to_be_better_by_more_than_of_one(summary: Summary) -> None:
    losses = {row: 1.0 + row for row in range(12)}
    better = {row: loss - 0.47 - (row % 4 - 1.5) * 0.55 for row, loss in losses.items()}
    alone = only(compare_runs((run(summary, "first", losses), run(summary, "second", better))))
    many = (run(summary, "first", losses), *(run(summary, f"run {number}", better) for number in range(6)))
    among = compare_runs(many).differences[0]
    assert (alone.verdict, among.verdict) == ("better", "tied")
    assert alone.p is not None and among.p is not None and among.p > alone.p


def test_settings_that_differ_are_listed_and_no_others(summary: Summary) -> None:
    first = run(summary, "first", {1: 1.0})
    second = replace(run(summary, "second", {1: 1.0}), settings={**summary.settings, "shots": 5})
    found = compare_runs((first, second))
    assert [(line.name, line.values) for line in found.settings] == [("shots", ("3", "5"))]


def test_older_runs_are_paired_by_what_their_answers_say(summary: Summary) -> None:
    first, second = replace(summary, id="first"), replace(summary, id="second")
    found = compare_runs((first, second))
    paired = {one.metric: one.paired for one in found.differences}
    assert paired == {"loss": False, "chrf": True, "token_accuracy": False, "exact_match": True}
    assert found.notes == ("second and first are compared in loss, next token right by their intervals alone.",)


def test_hostile_runs_are_shown_and_never_obeyed(hostile_summary: Summary) -> None:
    pair = (hostile_summary, replace(hostile_summary, id=f"{hostile_summary.id} 2", seed=2))
    found = compare_runs(pair)
    page = runs_page.render(found, pair)
    assert "<img" not in page and "<script>alert" not in page and not set(page) & set("\x1b\u202e\ud800")
    assert "<img" not in runs_page.fragment(found, pair)
    stream = StringIO()
    render_runs(found, pair, Console(file=stream, width=80))
    assert "[bold]x[/bold]" in re.sub(r"\s", "", stream.getvalue()) or "[bold]" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


def test_no_page_of_runs_loads_anything(summary: Summary, evaluated: Summary) -> None:
    pair = (summary, evaluated)
    page = runs_page.render(compare_runs(pair), pair)
    assert set(re.findall(r"https?://[^\"'\s<]+", page)) <= {"http://www.w3.org/2000/svg"}
    assert "default-src 'none'" in unescape(page) and "None" not in page
