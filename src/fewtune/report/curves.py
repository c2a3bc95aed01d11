"""The learning curves of the report, as SVG."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from fewtune.report import tables, words
from fewtune.report.drawing import DIM, INK, SERIES, data, spread, to_svg
from fewtune.report.summary import CurvePoint, Summary, TrialLine

_TRAIN_POINTS = 80
MOST_TRUNKS = 40


@dataclass(frozen=True, kw_only=True)
class _Curve:
    label: str
    colour: str
    chosen: bool
    train: tuple[tuple[float, float], ...]
    valid: tuple[tuple[float, float], ...]

    @property
    def main(self) -> tuple[tuple[float, float], ...]:
        return self.valid or self.train


def learning_curves(summary: Summary, width: int) -> str | None:
    """Loss by epoch: thin for the training rows, strong for the validation rows, the chosen trial's strongest.

    The best five trunks by validation loss have a colour and a label; the others, at most MOST_TRUNKS in all, are
    grey.
    """
    curves = [curve for curve in _curves(summary) if curve.main]
    if not curves:
        return None
    height = 320 if width > 500 else 250
    low, high = _loss_range(curves)
    y = alt.Y("loss:Q", title="loss", scale=alt.Scale(domain=[low, high], nice=False), axis=alt.Axis(tickCount=6))
    layers = [layer for curve in curves for layer in _lines(curve, high, y)]
    labels = _end_labels(curves, low, high, 15 / height * (high - low), y)
    chart = alt.layer(*layers, *_chosen_point(summary, y), labels)
    return to_svg(chart.properties(width=width - 150 if width > 500 else width - 125, height=height), _spoken(curves))


def _curves(summary: Summary) -> Iterable[_Curve]:
    best = {row.trial.trunk: row.trial for row in reversed(tables.sweep(summary).rows)}
    chosen = next((trial.trunk for trial in summary.trials if trial.id == summary.chosen), None)
    trunks = [trunk for trunk in reversed(best) if trunk in summary.curves]
    trunks.sort(key=lambda trunk: trunk != chosen)
    trunks = trunks[:MOST_TRUNKS]
    fields = [name for name in tables.varied(best[trunk].plan for trunk in trunks) if name != "epochs"]
    for place, trunk in enumerate(trunks):
        coloured = place < len(SERIES)
        yield _Curve(
            label=_plan_label(best[trunk], fields) if coloured else "",
            colour=SERIES[place] if coloured else DIM,
            chosen=trunk == chosen,
            train=_thinned(_series(summary.curves[trunk], "train_loss")) if coloured else (),
            valid=_series(summary.curves[trunk], "valid_loss"),
        )


_SHORT = {"learning_rate": "rate", "batch_size": "batch"}


def _plan_label(trial: TrialLine, fields: Iterable[str]) -> str:
    parts = [(_SHORT.get(name, words.heading(name)), trial.plan.get(name)) for name in fields]
    return ", ".join(f"{name} {words.setting(value)}" for name, value in parts[:2]) or "loss"


def _series(points: Sequence[CurvePoint], name: str) -> tuple[tuple[float, float], ...]:
    found = ((point.epoch, getattr(point, name)) for point in points)
    return tuple((epoch, value) for epoch, value in found if value is not None and math.isfinite(value))


def _thinned(points: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """Means of as many neighbouring steps as it takes to leave at most _TRAIN_POINTS."""
    size = math.ceil(len(points) / _TRAIN_POINTS) or 1
    parts = (points[start : start + size] for start in range(0, len(points), size))
    return tuple((sum(p[0] for p in part) / len(part), sum(p[1] for p in part) / len(part)) for part in parts)


def _loss_range(curves: Iterable[_Curve]) -> tuple[float, float]:
    """All validation losses, and the training losses but for the highest tenth: a first step may tower over all."""
    valid = [loss for curve in curves for _, loss in curve.valid]
    train = sorted(loss for curve in curves for _, loss in curve.train)
    kept = train[: math.ceil(0.9 * len(train))] or valid
    low, high = min([*valid, *kept]), max([*valid, *kept])
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 0.1
    return low - margin, high + margin


def _lines(curve: _Curve, high: float, y: alt.Y) -> Iterable[Any]:
    x = alt.X("epoch:Q", title="epoch (one pass over the training rows)", axis=alt.Axis(tickMinStep=1, format="d"))
    strength = 3.0 if curve.chosen else 1.8
    if curve.train:
        rows = [{"epoch": epoch, "loss": min(loss, high)} for epoch, loss in _from_below(curve.train, high)]
        line = alt.Chart(data(rows)).mark_line(color=curve.colour, strokeWidth=1, opacity=0.45)
        yield line.encode(x=x, y=y)
    if curve.valid:
        rows = [{"epoch": epoch, "loss": loss, "whole": _is_whole(epoch)} for epoch, loss in curve.valid]
        opacity = 1.0 if curve.label else 0.35
        line = alt.Chart(data(rows)).mark_line(color=curve.colour, strokeWidth=strength, opacity=opacity)
        yield line.encode(x=x, y=y)
        dots = [row for row in rows if row["whole"]]
        dot = alt.Chart(data(dots)).mark_circle(color=curve.colour, size=16 * strength, opacity=opacity)
        yield dot.encode(x=x, y=y)


def _from_below(points: Sequence[tuple[float, float]], high: float) -> Sequence[tuple[float, float]]:
    """From the first point that is inside the chart on."""
    first = next((place for place, (_, loss) in enumerate(points) if loss <= high), len(points))
    return points[first:]


def _is_whole(epoch: float) -> bool:
    return abs(epoch - round(epoch)) < 0.02


def _end_labels(curves: Sequence[_Curve], low: float, high: float, gap: float, y: alt.Y) -> Any:
    named = [curve for curve in curves if curve.label]
    ends = [min(max(curve.main[-1][1], low), high) for curve in named]
    rows = [
        {"epoch": curve.main[-1][0], "loss": end, "label": curve.label}
        for curve, end in zip(named, spread(ends, gap), strict=True)
    ]
    last = max(row["epoch"] for row in rows)
    layers = [
        alt.Chart(data([row | {"epoch": last}]))
        .mark_text(align="left", dx=9, color=curve.colour, fontWeight=600 if curve.chosen else "normal")
        .encode(x=alt.X("epoch:Q"), y=y, text=alt.Text("label:N"))
        for row, curve in zip(rows, named, strict=True)
    ]
    return alt.layer(*layers)


def _chosen_point(summary: Summary, y: alt.Y) -> Iterable[Any]:
    """A ring where the chosen trial stands on its trunk."""
    trial = next((trial for trial in summary.trials if trial.id == summary.chosen), None)
    if trial is None or trial.valid_loss is None:
        return
    valid = _series(summary.curves.get(trial.trunk, ()), "valid_loss")
    if not valid:
        return
    epoch, loss = min(valid, key=lambda point: abs(point[0] - float(trial.plan.get("epochs", valid[-1][0]))))
    place = alt.Chart(data([{"epoch": epoch, "loss": loss, "label": "chosen"}])).encode(x=alt.X("epoch:Q"), y=y)
    yield place.mark_point(size=190, color=INK, strokeWidth=1.8, filled=False, opacity=1)
    yield place.mark_text(dy=20, fontWeight=600, color=INK).encode(text=alt.Text("label:N"))


def _spoken(curves: Sequence[_Curve]) -> str:
    said = (
        f"{curve.label}{' (chosen)' if curve.chosen else ''} from {words.loss(curve.main[0][1])}"
        f" to {words.loss(curve.main[-1][1])}"
        for curve in curves
        if curve.label
    )
    return f"Learning curves, loss by epoch: {'; '.join(said)}."
