"""The learning curves of a sweep that is still training, as SVG; those of a finished one are in `curves`.

Written without a charting library: a picture takes a millisecond, so it can be renewed as often as anybody looks, and
it is not the training that waits for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from fewtune.report import words
from fewtune.report.palette import DIM, FONT, INK, RULE, SERIES
from fewtune.report.spread import spread

_WIDTH, _HEIGHT = 520, 240
_UNIT = "loss, nats a token"
_LEFT, _TOP, _RIGHT, _BOTTOM = 58, 10, 150, 46
"""Margins, for the numbers of the axes and the names of the trials."""
_TICKS = 5
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


@dataclass(frozen=True, kw_only=True)
class _Frame:
    """Where an epoch and a loss lie in the picture."""

    epochs: int
    low: float
    high: float

    def x(self, epoch: float) -> float:
        return _LEFT + _WIDTH * epoch / self.epochs

    def y(self, loss: float) -> float:
        return _TOP + _HEIGHT * (self.high - loss) / (self.high - self.low)


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
    frame = _Frame(epochs=epochs, low=low, high=high)
    colours = [*SERIES, *(DIM for _ in drawn[len(SERIES) :])]
    lines = (part for curve, colour in zip(drawn, colours, strict=False) for part in _lines(curve, colour, frame))
    parts = (*_axes(frame), *lines, *_best(drawn, frame), *_labels(drawn[: len(SERIES)], frame))
    width, height = _LEFT + _WIDTH + _RIGHT, _TOP + _HEIGHT + _BOTTOM
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="100%" role="img" '
        f'aria-label="{escape(_spoken(drawn))}" font-family="{escape(FONT)}" font-size="12">'
        f'<clipPath id="fewtune-live"><rect x="{_LEFT}" y="{_TOP}" width="{_WIDTH}" height="{_HEIGHT}"/></clipPath>'
        f"{''.join(parts)}</svg>"
    )


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


def _axes(frame: _Frame) -> Iterator[str]:
    bottom, right = _TOP + _HEIGHT, _LEFT + _WIDTH
    for epoch in range(0, frame.epochs + 1, math.ceil(frame.epochs / 8)):
        x = frame.x(epoch)
        yield f'<path d="M{x:.1f} {_TOP}V{bottom}" stroke="{RULE}"/>'
        yield _text(str(epoch), x, bottom + 18, DIM, "middle")
    for loss, said in _ticks(frame.low, frame.high):
        y = frame.y(loss)
        yield f'<path d="M{_LEFT} {y:.1f}H{right}" stroke="{RULE}"/>'
        yield _text(said, _LEFT - 8, y + 4, DIM, "end")
    yield _text("epoch", _LEFT + _WIDTH / 2, bottom + 38, DIM, "middle")
    yield f'<g transform="translate(14 {_TOP + _HEIGHT / 2}) rotate(-90)">{_text(_UNIT, 0, 0, DIM, "middle")}</g>'


def _ticks(low: float, high: float) -> Iterator[tuple[float, str]]:
    """Some five round numbers, each with as many digits as tell them apart."""
    rough = (high - low) / _TICKS
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= rough)
    digits = max(0, -math.floor(math.log10(step)))
    for number in range(math.ceil(low / step), math.floor(high / step) + 1):
        yield number * step, f"{number * step:.{digits}f}"


def _lines(curve: LiveCurve, colour: str, frame: _Frame) -> Iterator[str]:
    if curve.train:
        yield _line(curve.train, colour, frame, 'stroke-width="1" opacity="0.45" clip-path="url(#fewtune-live)"')
    if curve.valid:
        yield _line(curve.valid, colour, frame, 'stroke-width="2.4"')
    for epoch, loss in curve.valid:
        yield f'<circle cx="{frame.x(epoch):.1f}" cy="{frame.y(loss):.1f}" r="3.7" fill="{colour}"/>'


def _line(points: Points, colour: str, frame: _Frame, style: str) -> str:
    places = " ".join(f"{frame.x(epoch):.1f},{frame.y(loss):.1f}" for epoch, loss in points)
    return f'<polyline points="{places}" fill="none" stroke="{colour}" {style}/>'


def _best(curves: Sequence[LiveCurve], frame: _Frame) -> Iterator[str]:
    """A ring around the lowest validation loss; a single one is not the best of anything."""
    measured = [point for curve in curves for point in curve.valid]
    if len(measured) > 1:
        epoch, loss = min(measured, key=lambda point: point[1])
        place = f'cx="{frame.x(epoch):.1f}" cy="{frame.y(loss):.1f}" r="7.4"'
        yield f'<circle {place} fill="none" stroke="{INK}" stroke-width="1.8"/>'


def _labels(curves: Sequence[LiveCurve], frame: _Frame) -> Iterator[str]:
    """Beside the right edge, each as high as its curve stands: a picture that grows keeps its size."""
    ends = [min(max((curve.valid or curve.train)[-1][1], frame.low), frame.high) for curve in curves]
    heights = spread([frame.y(loss) for loss in ends], _LABEL_GAP)
    for curve, height, colour in zip(curves, heights, SERIES, strict=False):
        yield _text(curve.label, _LEFT + _WIDTH + 9, height + 4, colour, "start")


def _text(text: str, x: float, y: float, colour: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" text-anchor="{anchor}">{escape(text)}</text>'


def _spoken(curves: Sequence[LiveCurve]) -> str:
    said = (
        f"{curve.label} at {words.loss(points[-1][1])}"
        for curve in curves[: len(SERIES)]
        for points in (curve.valid or curve.train,)
    )
    return f"Learning curves so far, loss by epoch: {'; '.join(said)}."
