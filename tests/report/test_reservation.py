from __future__ import annotations

from dataclasses import replace

from fewtune.report import first_screen, metrics
from fewtune.report.reservation import reservation
from fewtune.report.summary import Difference, Summary


def test_a_win_that_another_telling_metric_contradicts_is_told_with_a_reservation(summary: Summary) -> None:
    assert reservation(summary) == ""
    name = metrics.in_order(summary)[1].name
    worse = tuple(
        replace(one, verdict="worse") if (one.metric, one.against) == (name, "base") else one
        for one in summary.differences
    )
    contradicted = replace(summary, differences=worse)
    said = reservation(contradicted)
    assert "the untuned base does better: read the answers before you decide" in said
    assert said in first_screen.first_screen(contradicted).advice
    assert "every rival that has one" in first_screen.first_screen(contradicted).advice
    assert reservation(replace(contradicted, verdict="Do not tune: on 9 rows nothing is told.")) == ""


def test_a_rival_without_the_deciding_metric_is_named_where_nothing_else_beats_it(summary: Summary) -> None:
    decides, second = (one.name for one in metrics.in_order(summary)[:2])
    systems = tuple(
        replace(system, metrics={name: value for name, value in system.metrics.items() if name != decides})
        if system.name == "base"
        else system
        for system in summary.systems
    )
    kept = tuple(one for one in summary.differences if (one.metric, one.against) != (decides, "base"))
    against = {verdict: _every(kept, verdict) for verdict in ("tied", "better")}
    tied = replace(summary, systems=systems, differences=against["tied"])
    said = reservation(tied)
    assert said.startswith("The untuned base has no loss, and by other measures it cannot be told from the tuned model")
    assert first_screen.first_screen(tied).advice == f"By loss it does better than every rival that has one. {said}"
    beaten = replace(tied, differences=against["better"])
    assert any(one.metric == second for one in beaten.differences)
    assert reservation(beaten) == ""
    assert first_screen.first_screen(beaten).advice == "By loss it does better than every rival that has one."


def _every(differences: tuple[Difference, ...], verdict: str) -> tuple[Difference, ...]:
    return tuple(replace(one, verdict=verdict) if one.against == "base" else one for one in differences)
