"""Loss, token and whole-answer accuracy by step, as SVG: what the chosen trial did while it trained."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import altair as alt

from fewtune.report import tables, words
from fewtune.report.drawing import data, to_svg, unchecked
from fewtune.report.palette import DIM, SERIES
from fewtune.report.summary import CurvePoint, Summary

_MOST_POINTS = 240
_MOST_OTHERS = 4
_WINDOW = 0.05
"""Share of the steps that a smoothed value is the mean of."""

Points = tuple[tuple[int, float], ...]
_PANELS = (
    ("Loss", "train_loss", "valid_loss"),
    ("Next token right", None, "valid_token_accuracy"),
    ("Whole answer right", None, "valid_sequence_accuracy"),
)


def step_curves(summary: Summary, width: int, *, smooth: bool) -> str | None:
    """Panels by step: the chosen trial strong, the next best grey; None where nothing was chosen or measured.

    With `smooth` the training loss is a moving mean over 5 % of the steps; else every step is there, of many steps
    the lowest and highest of each stretch.
    """
    trial = next((one for one in summary.trials if one.id == summary.chosen), None)
    if trial is None or trial.trunk not in summary.curves:
        return None
    best = dict.fromkeys(row.trial.trunk for row in tables.sweep(summary).rows if row.trial.trunk != trial.trunk)
    others = [summary.curves[trunk] for trunk in best if trunk in summary.curves][:_MOST_OTHERS]
    last = max((curve[-1].step for curve in (summary.curves[trial.trunk], *others) if curve), default=1)
    side = (width - 80) // 3 - 66 + 22 if width > 500 else width - 90
    curve = summary.curves[trial.trunk]
    with unchecked():
        panels = [
            panel
            for title, train, valid in _PANELS
            if (panel := _panel(title, curve, others, train, valid, side, smooth, last))
        ]
        if not panels:
            return None
        wide = width > 500
        drawn = alt.hconcat(*panels, spacing=66, bounds="flush") if wide else alt.vconcat(*panels, spacing=26)
        return to_svg(drawn, _spoken(curve))


def _panel(
    title: str,
    chosen: Sequence[CurvePoint],
    others: Iterable[Sequence[CurvePoint]],
    train: str | None,
    valid: str,
    width: int,
    smooth: bool,
    last: int,
) -> Any:
    measured, trained = points(chosen, valid), points(chosen, train) if train else ()
    if not measured and not trained:
        return None
    trained = moving_mean(trained) if smooth else trained
    layers = [_line(points(other, valid), DIM, 1.2, 0.45) for other in others]
    layers += [_line(extremes(trained), SERIES[0], 1, 0.5), _line(measured, SERIES[0], 2.6, 1), _dots(measured)]
    share = title != "Loss"
    # Room at both ends: a tick at the very top would push the heading out of line with those beside it.
    span = alt.Scale(zero=False, nice=False, padding=16)
    y = alt.Y("value:Q", title=None, scale=span, axis=alt.Axis(tickCount=5, format="%" if share else "~g"))
    x = alt.X("step:Q", title="step", scale=alt.Scale(domain=[0, last]), axis=alt.Axis(tickCount=4, format="~s"))
    direction = "higher is better" if share else "nats a token, lower is better"
    heading = alt.TitleParams(title, subtitle=direction, frame="group")
    chart = alt.layer(*(layer.encode(x=x, y=y) for layer in layers if layer is not None))
    return chart.properties(width=width, height=190, title=heading)


def points(curve: Sequence[CurvePoint], name: str) -> Points:
    """(step, value) wherever the value was measured."""
    found = ((point.step, getattr(point, name)) for point in curve)
    return tuple((step, value) for step, value in found if value is not None and math.isfinite(value))


def moving_mean(found: Points) -> Points:
    """Each value as the mean of its neighbours, as many before it as after it; ends have fewer."""
    reach = max(1, int(len(found) * _WINDOW / 2))
    sums = [0.0]
    for _, value in found:
        sums.append(sums[-1] + value)
    smoothed: list[tuple[int, float]] = []
    for place, (step, _) in enumerate(found):
        near = min(reach, place, len(found) - 1 - place)
        smoothed.append((step, (sums[place + near + 1] - sums[place - near]) / (2 * near + 1)))
    return tuple(smoothed)


def extremes(found: Points, most: int = _MOST_POINTS) -> Points:
    """At most `most` points: of each stretch the lowest and the highest, so that no peak is lost."""
    if len(found) <= most:
        return found
    size = math.ceil(2 * len(found) / most)
    kept: list[tuple[int, float]] = []
    for start in range(0, len(found), size):
        part = found[start : start + size]
        kept += sorted({min(part, key=lambda point: point[1]), max(part, key=lambda point: point[1])})
    return tuple(kept)


def _line(found: Points, colour: str, strength: float, opacity: float) -> Any:
    if len(found) < 2:
        return None
    return alt.Chart(_rows(found)).mark_line(color=colour, strokeWidth=strength, opacity=opacity)


def _dots(found: Points) -> Any:
    return alt.Chart(_rows(found)).mark_circle(color=SERIES[0], size=44, opacity=1) if found else None


def _rows(found: Points) -> alt.InlineData:
    return data([{"step": step, "value": value} for step, value in found])


def _spoken(curve: Sequence[CurvePoint]) -> str:
    said = (
        f"{title.lower()} from {write(found[0][1])} to {write(found[-1][1])}"
        for title, _, name in _PANELS
        for write in (words.loss if title == "Loss" else words.share,)
        if (found := points(curve, name))
    )
    return f"The chosen trial by step, on the validation rows: {'; '.join(said) or 'not measured'}."
