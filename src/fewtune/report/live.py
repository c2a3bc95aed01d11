"""The learning curves of a sweep that is still training, as SVG; those of a finished one are in `curves`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from fewtune.report import words
from fewtune.report.drawing import DIM, INK, SERIES, data, spread, to_svg

_WIDTH, _HEIGHT = 520, 240
_TRAIN_POINTS = 30
_LABEL_GAP = 15
"""Pixels between two labels, at least."""

Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True)
class LiveCurve:
    """One trial so far; points are (epoch, loss)."""

    label: str
    train: Points
    valid: Points


def live_curves(curves: Sequence[LiveCurve], epochs: int) -> str | None:
    """Loss by epoch on an axis that is as long as the longest trial will be; None before the first loss.

    Thin for the training rows, strong for the validation rows, with a ring around the lowest of these. The first five
    trials have a colour and a label, the others are grey.
    """
    drawn = [_finite(curve) for curve in curves]
    drawn = [curve for curve in drawn if curve.train or curve.valid]
    if not drawn:
        return None
    low, high = _loss_range(drawn)
    colours = [*SERIES, *(DIM for _ in drawn[len(SERIES) :])]
    whole = list(range(0, epochs + 1, math.ceil(epochs / 8)))
    x = alt.X("epoch:Q", title="epoch", scale=alt.Scale(domain=[0, epochs]), axis=alt.Axis(values=whole, format="d"))
    y = alt.Y("loss:Q", title="loss", scale=alt.Scale(domain=[low, high], nice=False), axis=alt.Axis(tickCount=5))
    layers = [layer for curve, colour in zip(drawn, colours, strict=False) for layer in _lines(curve, colour)]
    labels = _labels(drawn[: len(SERIES)], epochs, low, high)
    chart = alt.layer(*(layer.encode(x=x, y=y) for layer in (*layers, *_best(drawn), *labels)))
    return to_svg(chart.properties(width=_WIDTH, height=_HEIGHT), _spoken(drawn))


def _finite(curve: LiveCurve) -> LiveCurve:
    train, valid = (tuple(p for p in points if math.isfinite(p[1])) for points in (curve.train, curve.valid))
    return LiveCurve(label=words.printable(curve.label), train=_thinned(train), valid=valid)


def _thinned(points: Points) -> Points:
    """Means of as many neighbouring steps as it takes to leave at most _TRAIN_POINTS."""
    size = math.ceil(len(points) / _TRAIN_POINTS) or 1
    parts = (points[start : start + size] for start in range(0, len(points), size))
    return tuple((sum(p[0] for p in part) / len(part), sum(p[1] for p in part) / len(part)) for part in parts)


def _loss_range(curves: Sequence[LiveCurve]) -> tuple[float, float]:
    """All validation losses, and the training losses but for the highest tenth, which the first steps hold."""
    valid = [loss for curve in curves for _, loss in curve.valid]
    train = sorted(loss for curve in curves for _, loss in curve.train)
    shown = [*valid, *train[: math.ceil(0.9 * len(train))]]
    margin = 0.08 * (max(shown) - min(shown)) or 0.1
    return min(shown) - margin, max(shown) + margin


def _lines(curve: LiveCurve, colour: str) -> list[Any]:
    train = alt.Chart(_data(curve.train)).mark_line(color=colour, strokeWidth=1, opacity=0.45, clip=True)
    valid = alt.Chart(_data(curve.valid))
    strong = [valid.mark_line(color=colour, strokeWidth=2.4), valid.mark_circle(color=colour, size=44, opacity=1)]
    return [train, *(strong if curve.valid else ())]


def _best(curves: Sequence[LiveCurve]) -> list[Any]:
    """A ring around the lowest validation loss; a single one is not the best of anything."""
    measured = [point for curve in curves for point in curve.valid]
    if len(measured) < 2:
        return []
    lowest = alt.Chart(_data((min(measured, key=lambda point: point[1]),)))
    return [lowest.mark_point(size=170, filled=False, color=INK, strokeWidth=1.8, opacity=1)]


def _data(points: Points) -> alt.InlineData:
    return data([{"epoch": epoch, "loss": loss} for epoch, loss in points])


def _labels(curves: Sequence[LiveCurve], epochs: int, low: float, high: float) -> list[Any]:
    """Beside the right edge, each as high as its curve stands: a picture that grows keeps its size."""
    ends = [min(max((curve.valid or curve.train)[-1][1], low), high) for curve in curves]
    heights = spread(ends, _LABEL_GAP / _HEIGHT * (high - low))
    return [
        alt.Chart(data([{"epoch": epochs, "loss": height, "label": curve.label}]))
        .mark_text(align="left", dx=9, color=colour)
        .encode(text="label:N")
        for curve, height, colour in zip(curves, heights, SERIES, strict=False)
    ]


def _spoken(curves: Sequence[LiveCurve]) -> str:
    said = (
        f"{curve.label} at {words.loss(points[-1][1])}"
        for curve in curves[: len(SERIES)]
        for points in (curve.valid or curve.train,)
    )
    return f"Learning curves so far, loss by epoch: {'; '.join(said)}."
