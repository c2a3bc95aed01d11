from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from fewtune.report import charts, curves, step_curves
from fewtune.report.spread import spread
from fewtune.report.summary import CurvePoint, Summary
from fewtune.report.views import views

DRAW = {"comparison": charts.comparison, "curves": curves.learning_curves}


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("}text")]


def colours(svg: str) -> set[str]:
    return set(re.findall(r'(?:fill|stroke)="([^"]+)"', svg))


@pytest.mark.parametrize("name", DRAW)
def test_a_chart_is_an_image_with_a_name_that_fills_its_width(summary: Summary, name: str) -> None:
    svg = DRAW[name](summary, 720)
    assert svg
    root = ElementTree.fromstring(svg)
    assert root.attrib["role"] == "img" and len(root.attrib["aria-label"]) > 40
    assert root.attrib["width"] == "100%" and "height" not in root.attrib and "viewBox" in root.attrib
    # Its letters stay about as large as the text beside it.
    most = float(root.attrib["style"].removeprefix("max-width: ").removesuffix("px"))
    assert most <= 1.2 * float(root.attrib["viewBox"].split()[2])


@pytest.mark.parametrize("name", DRAW)
def test_every_colour_follows_the_page(summary: Summary, name: str) -> None:
    svg = DRAW[name](summary, 720)
    assert svg
    fixed = {colour for colour in colours(svg) if not colour.startswith("var(--")}
    assert fixed <= {"none", "transparent"}


@pytest.mark.parametrize("name", DRAW)
def test_a_narrow_chart_is_narrower(summary: Summary, name: str) -> None:
    widths = []
    for width in (720, 350):
        svg = DRAW[name](summary, width)
        assert svg
        widths.append(float(ElementTree.fromstring(svg).attrib["viewBox"].split()[2]))
    assert widths[1] <= 400 < widths[0] <= 800


def test_the_learning_curves_name_each_rate_and_the_chosen_trial(summary: Summary) -> None:
    svg = curves.learning_curves(summary, 720)
    assert svg
    assert {"rate 0.001", "rate 0.003", "rate 0.01", "chosen"} <= set(texts(svg))


def test_the_comparison_says_every_value_in_words(summary: Summary) -> None:
    svg = charts.comparison(summary, 720)
    assert svg
    label = ElementTree.fromstring(svg).attrib["aria-label"]
    assert "tuned 2.041 (1.951 to 2.131)" in label and "few-shot 2.487" in label


def test_there_is_no_chart_of_nothing(changed: Callable[..., Summary]) -> None:
    assert curves.learning_curves(changed(curves={}), 720) is None
    assert charts.comparison(changed(systems=()), 720) is None


def test_a_loss_is_drawn_with_its_unit(summary: Summary) -> None:
    drawings = (curves.learning_curves(summary, 880), step_curves.step_curves(summary, 880, smooth=True))
    assert all("nats a token" in (drawn or "") for drawn in drawings)


def test_training_losses_alone_make_a_chart(summary: Summary, changed: Callable[..., Summary]) -> None:
    bare = {
        trunk: tuple(replace(point, valid_loss=None) for point in points) for trunk, points in summary.curves.items()
    }
    assert curves.learning_curves(changed(curves=bare, chosen=None), 720)


def test_a_trial_that_blew_up_leaves_its_finite_losses_on_the_chart(summary: Summary) -> None:
    blown = CurvePoint(
        step=117,
        epoch=4.1,
        train_loss=float("inf"),
        valid_loss=float("nan"),
        valid_token_accuracy=None,
        valid_sequence_accuracy=None,
    )
    svg = curves.learning_curves(replace(summary, curves={**summary.curves, "c": (*summary.curves["c"], blown)}), 720)
    assert svg and "NaN" not in svg and "Infinity" not in svg


def test_a_constant_loss_is_drawn(summary: Summary, changed: Callable[..., Summary]) -> None:
    flat = tuple(
        CurvePoint(
            step=step,
            epoch=step,
            train_loss=1.0,
            valid_loss=1.0,
            valid_token_accuracy=None,
            valid_sequence_accuracy=None,
        )
        for step in (1, 2)
    )
    trials = tuple(replace(trial, valid_loss=1.0) for trial in summary.trials)
    run = changed(trials=trials, curves=dict.fromkeys(summary.curves, flat))
    svg = curves.learning_curves(run, 720)
    assert svg and "NaN" not in svg
    made = views(run, 880, 350)
    assert made and not any("NaN" in picture for pictures in made.drawings.values() for picture in pictures)


def test_forty_trunks_leave_a_chart_of_bounded_size(summary: Summary) -> None:
    trials = tuple(
        replace(summary.trials[0], id=f"t{number}", trunk=f"t{number}", valid_loss=2 + number / 100)
        for number in range(40)
    )
    many = replace(
        summary, trials=trials, chosen="t0", tied=(), curves=dict.fromkeys((t.id for t in trials), summary.curves["a"])
    )
    svg = curves.learning_curves(many, 720)
    assert svg and len(svg) < 100_000


def test_labels_are_spread_apart_and_keep_their_order() -> None:
    heights = [2.0, 1.0, 1.01, 1.02]
    placed = spread(heights, 0.1)
    ordered = sorted(placed)
    assert all(above - below >= 0.1 - 1e-9 for below, above in pairwise(ordered))
    assert sorted(range(4), key=lambda index: placed[index]) == sorted(range(4), key=lambda index: heights[index])


def test_a_heading_wider_than_its_panel_goes_on_in_a_second_line() -> None:
    assert charts.in_lines("Words in order (ROUGE-L)", 160) == ["Words in order", "(ROUGE-L)"]
    assert charts.in_lines("Words in order (ROUGE-L)", 400) == ["Words in order (ROUGE-L)"]
    assert charts.in_lines("Loss", 10) == ["Loss"]


def test_a_curve_of_few_steps_is_smoothed_too() -> None:
    steps = tuple((step, float(step % 2)) for step in range(24))
    assert step_curves.moving_mean(steps) != steps
