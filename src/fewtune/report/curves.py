"""The learning curves of the report, as SVG."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import altair as alt

from fewtune.report import tables, words
from fewtune.report.drawing import Datasets, to_svg, unchecked
from fewtune.report.palette import DIM, INK, SERIES
from fewtune.report.scatters import layered
from fewtune.report.spread import spread
from fewtune.report.summary import CurvePoint, Summary, TrialLine

_TRAIN_POINTS = 80
_COLUMNS = 240
"""Columns of a curve; of the points within one only the lowest and the highest are drawn."""
MOST_TRUNKS = 40
_EPOCHS = alt.Axis(tickMinStep=1, format="~g")

Row = dict[str, Any]


Points = tuple[tuple[float, float], ...]
"""Epoch and loss."""


@dataclass(frozen=True, kw_only=True)
class _Curve:
    label: str
    colour: str
    chosen: bool
    train: Points
    """Means of neighbouring steps."""
    raw: Points
    """Every step, where the curve is the chosen trial's."""
    valid: Points

    @property
    def kind(self) -> str:
        return "chosen" if self.chosen else "coloured" if self.label else "grey"

    @property
    def main(self) -> Points:
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
    rows = Datasets()
    with unchecked():
        scale = alt.Scale(domain=[low, high], nice=False)
        y = alt.Y("loss:Q", title="loss, nats a token", scale=scale, axis=alt.Axis(tickCount=6))
        x = alt.X("epoch:Q", title="epoch (one pass over the training rows)", axis=_EPOCHS)
        layers = (
            *_trained(curves, high, rows),
            *_validated(curves, rows),
            *_chosen_point(summary, rows),
            *_end_labels(curves, low, high, 15 / height * (high - low), rows),
        )
        chart = layered(layers, x, y, width - 150 if width > 500 else width - 125, height)
        return to_svg(chart, _spoken(curves), rows)


def _curves(summary: Summary) -> Iterable[_Curve]:
    best = {row.trial.trunk: row.trial for row in reversed(tables.sweep(summary).rows)}
    chosen = next((trial.trunk for trial in summary.trials if trial.id == summary.chosen), None)
    trunks = [trunk for trunk in reversed(best) if trunk in summary.curves]
    trunks.sort(key=lambda trunk: trunk != chosen)
    trunks = trunks[:MOST_TRUNKS]
    fields = [name for name in tables.varied(best[trunk].plan for trunk in trunks) if name != "epochs"]
    for place, trunk in enumerate(trunks):
        coloured = place < len(SERIES)
        trained = _series(summary.curves[trunk], "train_loss")
        yield _Curve(
            label=_plan_label(best[trunk], fields) if coloured else "",
            colour=SERIES[place] if coloured else DIM,
            chosen=trunk == chosen,
            train=_means(trained) if coloured else (),
            raw=_envelope(trained) if trunk == chosen else (),
            valid=_envelope(_series(summary.curves[trunk], "valid_loss")),
        )


_SHORT = {"learning_rate": "rate", "batch_size": "batch"}


def _plan_label(trial: TrialLine, fields: Iterable[str]) -> str:
    parts = [(_SHORT.get(name, words.heading(name)), trial.plan.get(name)) for name in fields]
    return ", ".join(f"{name} {words.setting(value)}" for name, value in parts[:2]) or "loss"


def _series(points: Sequence[CurvePoint], name: str) -> Points:
    found = ((point.epoch, getattr(point, name)) for point in points)
    return tuple((epoch, value) for epoch, value in found if value is not None and math.isfinite(value))


def _means(points: Points) -> Points:
    """Means of as many neighbouring steps as it takes to leave at most _TRAIN_POINTS."""
    size = math.ceil(len(points) / _TRAIN_POINTS) or 1
    parts = (points[start : start + size] for start in range(0, len(points), size))
    return tuple((sum(p[0] for p in part) / len(part), sum(p[1] for p in part) / len(part)) for part in parts)


def _envelope(points: Points) -> Points:
    """Of each column the lowest and the highest point, in their order: what a line through all of them would cover.

    The first and the last point are kept, as a curve is read off at its end.
    """
    if len(points) <= 2 * _COLUMNS:
        return points
    first, last = points[0][0], points[-1][0]
    width = (last - first) / _COLUMNS or 1.0
    columns = (list(part) for _, part in groupby(points, key=lambda point: int((point[0] - first) / width)))
    kept = {end for part in columns for end in (min(part, key=_loss), max(part, key=_loss))}
    return tuple(sorted({points[0], *kept, points[-1]}))


def _loss(point: tuple[float, float]) -> float:
    return point[1]


def _loss_range(curves: Iterable[_Curve]) -> tuple[float, float]:
    """All validation losses, and the training losses but for the highest tenth: a first step may tower over all."""
    valid = [loss for curve in curves for _, loss in curve.valid]
    train = sorted(loss for curve in curves for _, loss in curve.train)
    kept = train[: math.ceil(0.9 * len(train))] or valid
    low, high = min([*valid, *kept]), max([*valid, *kept])
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 0.1
    return low - margin, high + margin


def _trained(curves: Sequence[_Curve], high: float, rows: Datasets) -> Iterable[Any]:
    """The steps of the chosen trial, faint, and the means of the coloured ones."""
    for name, opacity in (("raw", 0.2), ("train", 0.45)):
        found = [
            row
            for place, curve in enumerate(curves)
            for row in _rows(curve, place, _from_below(getattr(curve, name), high), high)
        ]
        if found:
            yield _coloured(alt.Chart(rows.add(found)).mark_line(strokeWidth=1, opacity=opacity), detail=True)


def _validated(curves: Sequence[_Curve], rows: Datasets) -> Iterable[Any]:
    """Grey below coloured below chosen, each with a dot where an epoch ends."""
    placed = list(enumerate(curves))
    for kind, strength, opacity in (("grey", 1.8, 0.35), ("coloured", 1.8, 1.0), ("chosen", 3.0, 1.0)):
        found = [
            row for place, curve in placed if curve.kind == kind for row in _rows(curve, place, curve.valid, math.inf)
        ]
        if found:
            lines, dots = alt.Chart(rows.add(found)), alt.Chart(rows.add([row for row in found if row["whole"]]))
            yield _coloured(lines.mark_line(strokeWidth=strength, opacity=opacity), detail=True)
            yield _coloured(dots.mark_circle(size=16 * strength, opacity=opacity))


def _rows(curve: _Curve, place: int, points: Iterable[tuple[float, float]], high: float) -> Iterable[Row]:
    for epoch, loss in points:
        yield {
            "epoch": epoch,
            "loss": min(loss, high),
            "whole": _is_whole(epoch),
            "trunk": place,
            "colour": curve.colour,
        }


def _coloured(chart: Any, *, detail: bool = False) -> Any:
    """Each trunk in its own colour, and where lines are drawn, a line for each."""
    more = {"detail": alt.Detail("trunk:N")} if detail else {}
    return chart.encode(color=alt.Color("colour:N", scale=None), **more)


def _from_below(points: Sequence[tuple[float, float]], high: float) -> Sequence[tuple[float, float]]:
    """From the first point that is inside the chart on."""
    first = next((place for place, (_, loss) in enumerate(points) if loss <= high), len(points))
    return points[first:]


def _is_whole(epoch: float) -> bool:
    return abs(epoch - round(epoch)) < 0.02


def _end_labels(curves: Sequence[_Curve], low: float, high: float, gap: float, rows: Datasets) -> Iterable[Any]:
    named = [curve for curve in curves if curve.label]
    ends = spread([min(max(curve.main[-1][1], low), high) for curve in named], gap)
    last = max(curve.main[-1][0] for curve in curves)
    for chosen in (False, True):
        found = [
            {"epoch": last, "loss": end, "label": curve.label, "colour": curve.colour}
            for curve, end in zip(named, ends, strict=True)
            if curve.chosen == chosen
        ]
        if found:
            text = alt.Chart(rows.add(found)).mark_text(align="left", dx=9, fontWeight=600 if chosen else "normal")
            yield _coloured(text.encode(text=alt.Text("label:N")))


def _chosen_point(summary: Summary, rows: Datasets) -> Iterable[Any]:
    """A ring where the chosen trial stands on its trunk."""
    trial = next((trial for trial in summary.trials if trial.id == summary.chosen), None)
    if trial is None or trial.valid_loss is None:
        return
    valid = _series(summary.curves.get(trial.trunk, ()), "valid_loss")
    if not valid:
        return
    epoch, loss = min(valid, key=lambda point: abs(point[0] - float(trial.plan.get("epochs", valid[-1][0]))))
    place = alt.Chart(rows.add([{"epoch": epoch, "loss": loss, "label": "chosen"}]))
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
