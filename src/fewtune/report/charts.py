"""The charts of the sweep and of the systems side by side, as SVG; the learning curves are in `curves`.

Each takes the width in pixels that it is drawn for, so that a narrow screen gets letters of the same size as a
wide one, and gives None where there is nothing to draw.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import altair as alt

from fewtune.report import metrics, tables, words
from fewtune.report.drawing import DIM, INK, PAPER, SERIES, data, spread, to_svg
from fewtune.report.metrics import Metric
from fewtune.report.summary import Summary, TrialLine

_SYSTEM_COLOURS = {"tuned": SERIES[0], "few-shot": SERIES[1]}


def sweep(summary: Summary, width: int) -> str | None:
    """Validation loss of each trial by learning rate (or by what else was varied), one line for each epoch count."""
    trials = [trial for trial in summary.trials if trial.valid_loss is not None and math.isfinite(trial.valid_loss)]
    fields = tables.varied(trial.plan for trial in trials)
    across = next((name for name in fields if _is_scale(trials, name)), None)
    if len(trials) < 2 or across is None:
        return None
    rows = [_dot(summary, trial, across, fields) for trial in trials]
    x, y = _sweep_axes(rows, across)
    base = alt.Chart(data(rows)).encode(x=x, y=y)
    layers = [*_sweep_lines(rows, x, y), base.mark_circle(size=60, color=SERIES[0], opacity=1)]
    layers += _rings(rows, x, y)
    best = min(rows, key=lambda row: row["loss"])
    spoken = f"Validation loss of {len(rows)} trials by {words.heading(across)}; the lowest is {best['loss']:.3f}."
    return to_svg(alt.layer(*layers).properties(width=width - 150, height=240), spoken)


def _is_scale(trials: Sequence[TrialLine], name: str) -> bool:
    values = [trial.plan.get(name) for trial in trials]
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _dot(summary: Summary, trial: TrialLine, across: str, fields: Sequence[str]) -> dict[str, Any]:
    others = [name for name in fields if name != across]
    series = ", ".join(
        words.counted(trial.plan[name], "epoch")
        if name == "epochs"
        else f"{words.heading(name)} {words.setting(trial.plan.get(name))}"
        for name in others
    )
    return {
        "x": trial.plan[across],
        "loss": trial.valid_loss,
        "series": series,
        "mark": tables.mark(summary, trial),
    }


def _sweep_axes(rows: Sequence[dict[str, Any]], across: str) -> tuple[alt.X, alt.Y]:
    values = sorted({row["x"] for row in rows})
    logarithmic = across == "learning_rate" and values[0] > 0
    margin = (values[-1] / values[0]) ** 0.08 if logarithmic else 0.08 * (values[-1] - values[0])
    domain = [values[0] / margin, values[-1] * margin] if logarithmic else [values[0] - margin, values[-1] + margin]
    scale = alt.Scale(type="log" if logarithmic else "linear", domain=domain, nice=False)
    shown = alt.Axis(format="~r", grid=False, labelOverlap=True)
    axis = alt.Axis(values=values, format="~r", grid=False, labelOverlap=True) if len(values) <= 8 else shown
    losses = [row["loss"] for row in rows]
    room = 0.12 * (max(losses) - min(losses)) or 0.1
    span = alt.Scale(domain=[min(losses) - room, max(losses) + room], nice=False)
    return (
        alt.X("x:Q", title=words.heading(across), scale=scale, axis=axis),
        alt.Y("loss:Q", title="validation loss", scale=span, axis=alt.Axis(tickCount=5)),
    )


def _sweep_lines(rows: Sequence[dict[str, Any]], x: alt.X, y: alt.Y) -> list[Any]:
    """Dots that differ in nothing but x are joined, and named at their right end; too many are left as dots."""
    series = list(dict.fromkeys(row["series"] for row in rows))
    if len(series) > 5:
        return []
    losses = [row["loss"] for row in rows]
    gap = 0.08 * (max(losses) - min(losses)) or 0.05
    ends = [max((row for row in rows if row["series"] == name), key=lambda row: row["x"]) for name in series]
    line = alt.Chart(data(list(rows))).mark_line(color=SERIES[0], strokeWidth=1.2, opacity=0.5)
    named = [
        row | {"loss": height} for row, height in zip(ends, spread([row["loss"] for row in ends], gap), strict=True)
    ]
    text = alt.Chart(data(named)).mark_text(align="left", dx=11, color=DIM)
    return [
        line.encode(x=x, y=y, detail=alt.Detail("series:N")),
        text.encode(x=x, y=y, text=alt.Text("series:N")),
    ]


def _rings(rows: Sequence[dict[str, Any]], x: alt.X, y: alt.Y) -> list[Any]:
    tied = [row for row in rows if row["mark"] == "tied"]
    chosen = [row for row in rows if row["mark"] == "chosen"]
    layers: list[Any] = []
    if tied:
        dots = alt.Chart(data(tied)).encode(x=x, y=y)
        layers.append(dots.mark_point(size=60, filled=True, color=PAPER, stroke=SERIES[0], strokeWidth=2, opacity=1))
    if chosen:
        dots = alt.Chart(data(chosen)).encode(x=x, y=y)
        layers.append(dots.mark_point(size=190, filled=False, color=INK, strokeWidth=1.8, opacity=1))
        layers.append(dots.mark_text(dy=20, fontWeight=600, color=INK).encode(text=alt.Text("mark:N")))
    return layers


def comparison(summary: Summary, width: int) -> str | None:
    """Each metric's systems as dots with 95 % intervals, each metric on its own scale."""
    found = metrics.in_order(summary)
    if not found:
        return None
    columns = min(len(found), 4 if width > 500 else 2)
    panel = (width - 70) // columns - 28
    panels = [_panel(summary, metric, panel, first=place % columns == 0) for place, metric in enumerate(found)]
    rows = [alt.hconcat(*panels[start : start + columns], spacing=22) for start in range(0, len(panels), columns)]
    said = (_spoken_metric(summary, metric) for metric in found)
    return to_svg(alt.vconcat(*rows, spacing=24), "Systems compared. " + " ".join(said))


def _panel(summary: Summary, metric: Metric, width: int, *, first: bool) -> Any:
    rows = [
        {
            "system": words.printable(system.name),
            "value": value.value,
            "low": value.interval.low if value.interval else value.value,
            "high": value.interval.high if value.interval else value.value,
            "shown": metric.write(value.value),
            "colour": _SYSTEM_COLOURS.get(system.name, DIM),
        }
        for system in summary.systems
        if (value := system.metrics.get(metric.name)) and math.isfinite(value.value)
    ]
    order = [words.printable(system.name) for system in summary.systems]
    axis = alt.Axis(labelFontSize=13, labelColor=INK, ticks=False, grid=False) if first else None
    y = alt.Y("system:N", sort=order, title=None, scale=alt.Scale(domain=order), axis=axis)
    span = alt.Scale(zero=False, padding=14)
    ticks = alt.Axis(tickCount=3, format="%" if metric.write is words.share else "~r")
    colour = alt.Color("colour:N", scale=None)
    base = alt.Chart(data(rows)).encode(y=y, color=colour)
    whiskers = base.mark_rule(strokeWidth=2, opacity=0.75).encode(
        x=alt.X("low:Q", scale=span, axis=ticks, title=None), x2=alt.X2("high:Q")
    )
    dots = base.mark_circle(size=80, opacity=1).encode(x=alt.X("value:Q"))
    texts = base.mark_text(dy=-13, fontWeight=600).encode(x=alt.X("value:Q"), text=alt.Text("shown:N"))
    title = alt.TitleParams(metric.label, subtitle=metric.direction, frame="group")
    return alt.layer(whiskers, dots, texts).properties(width=width, height=130, title=title)


def _spoken_metric(summary: Summary, metric: Metric) -> str:
    said = (
        f"{system.name} {metric.write(value.value)} ({metric.interval(value.interval)})"
        for system in summary.systems
        if (value := system.metrics.get(metric.name))
    )
    return f"{metric.label}, {metric.direction}: {', '.join(said)}."
