from __future__ import annotations

import math
import random
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest

from fewtune.report import charts, coordinates, curves, html, parameter, scatters, spending, tables
from fewtune.report.importance import importance
from fewtune.report.summary import CurvePoint, Summary, TrialLine
from fewtune.report.trials import ALL_DRAWN, Trials, trials
from fewtune.report.views import views

Draw = Callable[[Summary, int], str | None]


def found(summary: Summary) -> Trials:
    made = trials(summary)
    assert made
    return made


DRAW: dict[str, Draw] = {
    "importance": lambda summary, width: charts.shares(importance(found(summary)), width),
    "scatters": lambda summary, width: scatters.scatters(found(summary), width),
    "coordinates": lambda summary, width: coordinates.coordinates(found(summary), width),
    "best": lambda summary, width: spending.best_so_far(summary, found(summary), width),
    "cost": lambda summary, width: spending.cost(found(summary), width),
}


def searched(summary: Summary, number: int) -> Summary:
    """A random search: the rate decides most, epochs something, the rank nothing; a few trials blow up."""
    draw = random.Random(5)

    def line(place: int) -> TrialLine:
        rate, epochs, rank = 10 ** draw.uniform(-4, -2), draw.choice((1, 2, 4, 8)), draw.choice((2, 8, 32))
        loss = 2 + 0.6 * (math.log10(rate) + 3) ** 2 + 0.03 * abs(epochs - 4) + draw.gauss(0, 0.02)
        plan = {**summary.trials[0].plan, "learning_rate": rate, "epochs": epochs, "rank": rank}
        changed: dict[str, Any] = {"plan": plan, "valid_loss": loss + 20 * (place % 97 == 3), "tokens": 1000 * epochs}
        return replace(summary.trials[0], id=f"t{place}", trunk=f"t{place}", **changed)

    lines = tuple(line(place) for place in range(number))
    best = min(lines, key=lambda one: one.valid_loss or math.inf)
    return replace(summary, trials=lines, chosen=best.id, tied=(), curves={})


def spread_out(summary: Summary, losses: list[float], **plans: list[Any]) -> Summary:
    """One trial for each loss, with these values of its plan."""
    lines = tuple(
        replace(
            summary.trials[0],
            id=f"t{place}",
            trunk=f"t{place}",
            valid_loss=loss,
            plan={**summary.trials[0].plan, **{name: values[place] for name, values in plans.items()}},
        )
        for place, loss in enumerate(losses)
    )
    return replace(summary, trials=lines, chosen="t0", tied=())


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("}text")]


def dots(svg: str) -> int:
    return len(re.findall(r"<path transform=", svg))


@pytest.fixture
def large(summary: Summary) -> Summary:
    return searched(summary, 10_000)


@pytest.mark.parametrize("name", DRAW)
@pytest.mark.parametrize("width", [880, 350])
def test_a_view_is_an_image_with_a_name_in_the_colours_of_the_page(summary: Summary, name: str, width: int) -> None:
    svg = DRAW[name](searched(summary, 30), width)
    assert svg
    root = ElementTree.fromstring(svg)
    assert root.attrib["role"] == "img" and len(root.attrib["aria-label"]) > 40
    assert float(root.attrib["viewBox"].split()[2]) <= width + 45
    colours = set(re.findall(r'(?:fill|stroke)="([^"]+)"', svg))
    assert {colour for colour in colours if not colour.startswith("var(--")} <= {"none", "transparent"}
    assert "NaN" not in svg and "Infinity" not in svg and "undefined" not in svg


def test_one_trial_has_no_view(summary: Summary) -> None:
    assert trials(replace(summary, trials=summary.trials[:1])) is None
    assert trials(replace(summary, trials=())) is None
    unmeasured = (summary.trials[0], *(replace(line, valid_loss=math.nan) for line in summary.trials[1:]))
    assert views(replace(summary, trials=unmeasured), 880, 350) is None


def test_trials_that_are_all_alike_have_no_view(summary: Summary) -> None:
    alike = spread_out(summary, [2.0, 2.1, 2.2, 2.3])
    alike = replace(alike, trials=tuple(replace(line, trunk="one") for line in alike.trials))
    made = views(alike, 880, 350)
    assert made and made.drawings == {}


def test_one_varied_parameter_has_a_scatter_and_nothing_to_compare_it_with(summary: Summary) -> None:
    made = views(spread_out(summary, [2.0, 2.1, 2.2, 2.4], rank=[2, 4, 8, 16]), 880, 350)
    assert made and "scatters" in made.drawings
    assert not {"importance", "coordinates"} & made.drawings.keys()


def test_each_varied_parameter_has_a_panel_and_an_axis(summary: Summary) -> None:
    run = searched(summary, 30)
    for draw in (DRAW["scatters"], DRAW["coordinates"]):
        drawn = draw(run, 880) or ""
        assert {"learning rate", "epochs", "rank"} <= set(texts(drawn))
        assert "validation loss" in drawn and "nats a token" in drawn


def test_rates_and_doubling_counts_stand_on_a_logarithmic_axis_and_names_on_one_of_names() -> None:
    plans = [
        {"learning_rate": 0.001 * 2**place, "epochs": 2**place, "prompt_loss_weight": place / 4, "base": f"b{place}"}
        for place in range(4)
    ]
    scales = {one.name: one.scale for one in parameter.varied(plans)}
    assert scales == {
        "learning_rate": "logarithmic",
        "epochs": "logarithmic",
        "prompt_loss_weight": "linear",
        "base": "named",
    }
    for one in parameter.varied(plans):
        assert [one.place(value) for value in one.values] == pytest.approx([0, 1 / 3, 2 / 3, 1])


def test_many_values_get_round_labels(summary: Summary) -> None:
    rate = next(one for one in found(searched(summary, 200)).parameters if one.name == "learning_rate")
    assert set(rate.ticks) <= {0.0001, 0.0003, 0.001, 0.003, 0.01} and len(rate.ticks) >= 3


def test_a_value_that_some_plans_lack_is_a_name(summary: Summary) -> None:
    run = spread_out(summary, [2.0, 2.1, 2.2, 2.3], rank=[2, None, 8, None])
    assert "none" in texts(DRAW["scatters"](run, 880) or "")


def test_the_best_so_far_only_falls_and_a_shared_trunk_is_paid_once(summary: Summary) -> None:
    label = ElementTree.fromstring(DRAW["best"](summary, 430) or "").attrib["aria-label"]
    once = sum(
        max(line.tokens for line in summary.trials if line.trunk == trunk)
        for trunk in {line.trunk for line in summary.trials}
    )
    assert re.sub(r"\D", "", label.split(" of ")[-1]) == str(once)
    first, lowest = summary.trials[0].valid_loss, min(line.valid_loss or 9 for line in summary.trials)
    assert f"from {first:.3f} to {lowest:.3f}" in label


def test_a_cost_is_in_dollars_only_where_every_trial_has_a_price(summary: Summary) -> None:
    assert "trained tokens of a trial" in texts(DRAW["cost"](summary, 430) or "")
    priced = tuple(replace(line, usd=0.1 * place) for place, line in enumerate(summary.trials))
    assert "dollars of a trial" in texts(DRAW["cost"](replace(summary, trials=priced), 430) or "")
    partly = (replace(priced[0], usd=None), *priced[1:])
    assert "trained tokens of a trial" in texts(DRAW["cost"](replace(summary, trials=partly), 430) or "")
    untold = tuple(replace(line, tokens=0) for line in summary.trials)
    assert "seconds of a trial" in texts(DRAW["cost"](replace(summary, trials=untold), 430) or "")


def test_importance_finds_what_decides_and_gives_nothing_to_what_does_not(summary: Summary) -> None:
    told = importance(found(searched(summary, 400)))
    assert told
    shares = {share.parameter.name: share.value for share in told.shares}
    assert next(iter(shares)) == "learning_rate" and shares["learning_rate"] > 0.6
    assert shares["rank"] < 0.05 < shares["learning_rate"] - shares["epochs"]


def test_importance_agrees_with_a_hand_calculation(summary: Summary) -> None:
    # Epochs: groups of means 2 and 4 with squares 8 between and 2 within; 1 - (2 / 6) / (10 / 7) is left of them.
    run = spread_out(
        summary, [1.5, 1.5, 2.5, 2.5, 3.5, 3.5, 4.5, 4.5], epochs=[1] * 4 + [2] * 4, rank=[2, 8, 2, 8, 2, 8, 2, 8]
    )
    told = importance(found(run))
    assert told and not told.by_rank
    assert {share.parameter.name: share.value for share in told.shares} == {
        "epochs": pytest.approx(1 - (2 / 6) / (10 / 7)),
        "rank": 0.0,
    }


def test_one_trial_that_blew_up_is_not_all_there_is_to_explain(summary: Summary) -> None:
    losses = [2.0, 2.01, 2.02, 2.03, 3.0, 3.01, 3.02, 90.0]
    run = spread_out(summary, losses, epochs=[1] * 4 + [2] * 4, rank=[2, 8, 2, 8, 2, 8, 2, 8])
    told = importance(found(run))
    assert told and told.by_rank and told.shares[0].parameter.name == "epochs" and told.shares[0].value > 0.6


def test_three_finished_trials_tell_no_importance(summary: Summary) -> None:
    run = spread_out(summary, [2.0, 2.5, 3.0, 3.5, 3.6], epochs=[1, 2, 3, 4, 4], rank=[2, 2, 8, 8, 8])
    assert importance(found(run))
    assert importance(found(replace(run, trials=run.trials[:3]))) is None
    stopped = (*run.trials[:3], *(replace(line, state="unfinished") for line in run.trials[3:]))
    assert importance(found(replace(run, trials=stopped))) is None


def test_under_twenty_trials_the_page_calls_importance_a_hint(summary: Summary) -> None:
    hint = "With fewer than 20 trials this is a hint"
    assert hint in html.render(searched(summary, 16)) and hint not in html.render(searched(summary, 24))


def test_the_chosen_trial_and_every_extreme_are_drawn_among_ten_thousand(large: Summary) -> None:
    made = found(large)
    chosen = made.marks.index("chosen")
    for one in made.parameters:
        drawn = made.drawn(made.places[one.name], 20, 12)
        assert chosen in drawn and made.losses.index(min(made.losses)) in drawn
        assert ALL_DRAWN / 10 < len(drawn) < 20 * 15
    assert chosen in coordinates.drawn_lines(made) and len(coordinates.drawn_lines(made)) == coordinates.MOST_LINES


def test_a_loss_far_above_all_others_stands_at_the_edge_and_is_counted(large: Summary, summary: Summary) -> None:
    made = found(large)
    assert made.high < 10 < max(made.losses) and made.beyond >= 100
    page = html.render(searched(summary, 100))
    assert re.search(r"trials? with a loss above \d\.\d+ stands? at the upper edge", page)


def test_a_sweep_of_ten_thousand_trials_leaves_a_small_page_that_says_what_it_left_out(large: Summary) -> None:
    page = html.render(large)
    assert len(page) < 1_000_000
    assert "Of 10\u202f000 trials, one is drawn where several would lie on one another" in page
    assert "80 of 10\u202f000" in page and "has all 10\u202f000" in page


def test_a_long_table_keeps_the_chosen_the_best_and_what_failed(summary: Summary) -> None:
    run = searched(summary, 100)
    worst = max(run.trials, key=lambda line: line.valid_loss or 0)
    failed = replace(run.trials[0], id="failed", state="failed", failure="It broke.", valid_loss=None)
    shown = tables.sweep(replace(run, trials=(*run.trials, failed), chosen=worst.id)).shown
    assert len(shown) == 42 and {"chosen", "failed"} <= {row.mark for row in shown}


def test_the_learning_curves_of_very_many_trunks_are_those_of_the_best(summary: Summary) -> None:
    run = searched(summary, 300)
    curve = tuple(replace(point, train_loss=None) for point in summary.curves["a"])
    svg = curves.learning_curves(replace(run, curves={line.trunk: curve for line in run.trials}), 720)
    assert svg and len(svg) < 120_000


def test_names_from_elsewhere_are_text_in_every_view(summary: Summary) -> None:
    hostile = ['<script>alert(1)</script>"', "');alert(2)//\x1b", "{{ 7 * 7 }}", "plain"]
    run = spread_out(summary, [2.0, 2.1, 2.3, 2.9], base=hostile, rank=[1, 2, 3, 4])
    made = views(run, 880, 350)
    assert made
    for pictures in made.drawings.values():
        for picture in pictures:
            assert "<script" not in picture and "\x1b" not in picture
            ElementTree.fromstring(picture)


def test_a_long_curve_keeps_its_peaks_and_its_ends_in_a_fraction_of_its_points(summary: Summary) -> None:
    draw = random.Random(3)
    losses = [2 + draw.gauss(0, 0.05) for _ in range(5_000)]
    losses[1_234], losses[3_210] = 2.9, 1.1
    points = tuple(
        CurvePoint(
            step=step,
            epoch=4 * step / 5_000,
            train_loss=loss,
            valid_loss=loss,
            valid_token_accuracy=None,
            valid_sequence_accuracy=None,
        )
        for step, loss in enumerate(losses, start=1)
    )
    drawn = curves.learning_curves(replace(summary, curves={summary.trials[0].trunk: points}), 880)
    assert drawn
    paths = [path.get("d", "") for path in ElementTree.fromstring(drawn).iter() if path.tag.endswith("path")]
    heights = sorted(float(y) for y in re.findall(r"[ML][-\d.]+,([-\d.]+)", max(paths, key=len)))
    assert 400 < len(heights) < 600
    # Nearly all of the height is that of the two peaks.
    assert heights[-20] - heights[20] < 0.4 * (heights[-1] - heights[0])
