"""Validation loss by the number of training rows, and where twice as many would lead, as SVG."""

from __future__ import annotations

from typing import Any

import altair as alt

from fewtune.report import words
from fewtune.report.drawing import data, to_svg
from fewtune.report.palette import DIM, INK, SERIES
from fewtune.report.summary import MoreData, Summary

_HEIGHT = 200


def sizes(summary: Summary, width: int) -> str | None:
    """A dot for each training, a line through the means, a bar for what is forecast; None where nothing was fitted."""
    found = summary.more_data
    if found is None or found.gain is None or found.interval is None or found.factor is None or not found.sizes:
        return None
    means = [(one.rows, sum(one.losses) / len(one.losses)) for one in found.sizes]
    last_rows, last = means[-1]
    ahead = {
        "rows": last_rows * found.factor,
        "loss": last - found.gain,
        "low": last - found.interval.high,
        "high": last - found.interval.low,
    }
    ends = [means[0][0] / 1.15, ahead["rows"] * 1.25]
    ticks = [*(rows for rows, _ in means), round(ahead["rows"])]
    scale = alt.Scale(type="log", domain=ends, nice=False)
    x = alt.X("rows:Q", title="training rows", scale=scale, axis=alt.Axis(values=ticks, grid=False, format="d"))
    y = alt.Y("loss:Q", title="validation loss, nats a token", scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=5))
    chart = alt.layer(*_layers(found, means, ahead, x, y)).properties(width=width - 120, height=_HEIGHT)
    return to_svg(chart, _spoken(found, means))


def _layers(found: MoreData, means: list[tuple[int, float]], ahead: dict[str, Any], x: alt.X, y: alt.Y) -> list[Any]:
    dots = [{"rows": one.rows, "loss": loss} for one in found.sizes for loss in one.losses]
    through = [{"rows": rows, "loss": loss} for rows, loss in means]
    forecast = alt.Chart(data([ahead])).encode(x=x)
    return [
        alt.Chart(data(through)).mark_line(color=SERIES[0], strokeWidth=2).encode(x=x, y=y),
        alt.Chart(data(dots)).mark_circle(color=SERIES[0], size=50, opacity=0.8).encode(x=x, y=y),
        alt.Chart(data([through[-1], ahead])).mark_line(color=DIM, strokeDash=[4, 4]).encode(x=x, y=y),
        forecast.mark_rule(color=DIM, strokeWidth=2).encode(y=alt.Y("low:Q"), y2=alt.Y2("high:Q")),
        forecast.mark_point(color=INK, size=70, strokeWidth=1.8).encode(y=y),
    ]


def _spoken(found: MoreData, means: list[tuple[int, float]]) -> str:
    told = ", ".join(f"{words.loss(loss)} with {words.count(rows)}" for rows, loss in means)
    return f"Validation loss by training rows: {told}. {found.sentence}"
