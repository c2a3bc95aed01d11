"""The systems side by side, and what mattered in the sweep, as SVG; the learning curves are in `curves`.

Each takes the width in pixels that it is drawn for, so that a narrow screen gets letters of the same size as a
wide one, and gives None where there is nothing to draw.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import altair as alt

from fewtune.report import metrics, tables, words
from fewtune.report.drawing import data, to_svg, unchecked
from fewtune.report.importance import Importance
from fewtune.report.metrics import Metric
from fewtune.report.palette import DIM, INK, SERIES
from fewtune.report.summary import Summary

_NAMES = 175
"""Pixels for the systems' names."""
_LETTER = 8.0
"""Pixels of a letter of a heading, on average."""
_SYSTEM_COLOURS = {"tuned": SERIES[0], "few-shot": SERIES[1]}


def comparison(summary: Summary, width: int) -> str | None:
    """Each metric's systems as dots with 95 % intervals, each metric on its own scale."""
    found = metrics.in_order(summary)[: metrics.MOST_TOGETHER]
    if not found:
        return None
    with unchecked():
        return to_svg(
            _panels(summary, found, width),
            "Systems compared. " + " ".join(_spoken_metric(summary, metric) for metric in found),
        )


def _panels(summary: Summary, found: Sequence[Metric], width: int) -> Any:
    columns = min(len(found), metrics.MOST_TOGETHER if width > 500 else 1)
    panel = (width - _NAMES) // columns - 28
    panels = [_panel(summary, metric, panel, first=place % columns == 0) for place, metric in enumerate(found)]
    rows = [alt.hconcat(*panels[start : start + columns], spacing=22) for start in range(0, len(panels), columns)]
    return alt.vconcat(*rows, spacing=24)


def _panel(summary: Summary, metric: Metric, width: int, *, first: bool) -> Any:
    rows = [
        {
            "system": words.system(system.name),
            "value": value.value,
            "low": value.interval.low if value.interval else value.value,
            "high": value.interval.high if value.interval else value.value,
            "shown": metric.write(value.value),
            "colour": _SYSTEM_COLOURS.get(system.name, DIM),
        }
        for system in summary.systems
        if (value := system.metrics.get(metric.name)) and math.isfinite(value.value)
    ]
    order = [words.system(system.name) for system in tables.by_strength(summary)]
    room = _NAMES - 15
    names = alt.Axis(labelFontSize=13, labelColor=INK, ticks=False, grid=False, minExtent=room, labelLimit=room)
    y = alt.Y("system:N", sort=order, title=None, scale=alt.Scale(domain=order), axis=names if first else None)
    span = alt.Scale(zero=False, padding=14)
    ticks = alt.Axis(tickCount=3, format="%" if metric.write is words.share else "~r")
    colour = alt.Color("colour:N", scale=None)
    base = alt.Chart(data(rows)).encode(y=y, color=colour)
    whiskers = base.mark_rule(strokeWidth=2, opacity=0.75).encode(
        x=alt.X("low:Q", scale=span, axis=ticks, title=None), x2=alt.X2("high:Q")
    )
    dots = base.mark_circle(size=80, opacity=1).encode(x=alt.X("value:Q"))
    texts = base.mark_text(dy=-13, fontWeight=600).encode(x=alt.X("value:Q"), text=alt.Text("shown:N"))
    title = alt.TitleParams(in_lines(metric.label, width), subtitle=metric.direction, frame="group")
    return alt.layer(whiskers, dots, texts).properties(width=width, height=max(130, 36 * len(order)), title=title)


def in_lines(label: str, width: int) -> list[str]:
    """A label that is too wide for its panel goes on in a second line, where its bracket begins."""
    plain, bracket, rest = label.partition(" (")
    return [plain, f"({rest}"] if bracket and len(label) * _LETTER > width else [label]


def _spoken_metric(summary: Summary, metric: Metric) -> str:
    said = (
        f"{system.name} {metric.write(value.value)} ({metric.interval(value.interval)})"
        for system in summary.systems
        if (value := system.metrics.get(metric.name))
    )
    return f"{metric.label}, {metric.direction}: {', '.join(said)}."


def shares(found: Importance | None, width: int) -> str | None:
    """A bar for what each hyperparameter explains by itself, and one for what none does, if anything is left."""
    if found is None:
        return None
    named = [(words.one_line(share.parameter.label, 20), share.value, SERIES[0]) for share in found.shares]
    rest = [("anything else", found.rest, DIM)] if found.rest else []
    rows = [
        {"name": name, "share": value, "shown": f"{100 * value:.0f} %", "colour": colour}
        for name, value, colour in [*named, *rest]
    ]
    order = [name for name, _, _ in (*named, *rest)]
    axis = alt.Axis(labelFontSize=13, labelColor=INK, ticks=False, grid=False, minExtent=145, labelLimit=145)
    y = alt.Y("name:N", sort=order, title=None, axis=axis, scale=alt.Scale(domain=order, paddingInner=0.45))
    x = alt.X("share:Q", axis=None, scale=alt.Scale(domain=[0, 1]))
    base = alt.Chart(data(rows)).encode(x=x, y=y)
    bars = base.mark_bar(opacity=0.85).encode(color=alt.Color("colour:N", scale=None))
    texts = base.mark_text(align="left", dx=7, fontWeight=600).encode(text=alt.Text("shown:N"))
    drawn = alt.layer(bars, texts).properties(width=width - 250, height=24 * len(rows))
    said = ", ".join(f"{row['name']} {row['shown']}" for row in rows)
    return to_svg(drawn, f"Share of the differences in validation loss explained by each setting: {said}.")
