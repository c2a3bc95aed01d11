"""A sweep's trials in parallel coordinates: an axis for each hyperparameter, the last for the loss.

The axes stand upright side by side in a wide chart, and lie below one another in a narrow one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import altair as alt

from fewtune.report import words
from fewtune.report.drawing import Datasets, to_svg
from fewtune.report.palette import DIM, INK, PAPER, RULE, SERIES
from fewtune.report.parameter import Parameter
from fewtune.report.scatters import Row, layered, panels
from fewtune.report.trials import Trials

MOST_LINES = 80
_BEST = 20
_HEIGHT = 230
_ROW_HEIGHT = 62
_GROUND: dict[str, Any] = {"color": PAPER, "stroke": PAPER, "strokeWidth": 4, "strokeJoin": "round"}
"""Beneath a text, so that no line crosses it."""
_VALUE: dict[str, Any] = {"color": DIM}
_NAME: dict[str, Any] = {"color": INK}


def coordinates(trials: Trials, width: int) -> str | None:
    """One line for each trial; None where fewer than two parameters vary, which a scatter shows better."""
    shown = panels(trials)
    if len(shown) < 2:
        return None
    upright = width > 500
    rows = Datasets()
    lines = [row for place in drawn_lines(trials) for row in _line(trials, shown, place)]
    layers = [_axes(len(shown) + 1, upright, rows), *_strokes(lines, rows), *_texts(trials, shown, upright, rows)]
    between, along = alt.Scale(domain=[0, len(shown)], nice=False), alt.Scale(domain=[-0.04, 1.04], nice=False)
    if upright:
        x, y = alt.X("axis:Q", axis=None, scale=between), alt.Y("height:Q", axis=None, scale=along)
        chart = layered(layers, x, y, width - 150, _HEIGHT)
    else:
        between.reverse = True
        x, y = alt.X("height:Q", axis=None, scale=along), alt.Y("axis:Q", axis=None, scale=between)
        chart = layered(layers, x, y, width - 50, _ROW_HEIGHT * len(shown))
    return to_svg(chart, _spoken(trials, shown), rows)


def drawn_lines(trials: Trials) -> list[int]:
    """Places of the trials to draw: all, or the chosen one, the best, and evenly many of the rest by loss."""
    order = sorted(range(len(trials.lines)), key=trials.losses.__getitem__)
    if len(order) <= MOST_LINES:
        return order
    rest = order[_BEST:]
    every = len(rest) / (MOST_LINES - _BEST)
    thinned = [rest[int(number * every)] for number in range(MOST_LINES - _BEST)]
    chosen = [place for place, mark in enumerate(trials.marks) if mark == "chosen"]
    return list(dict.fromkeys([*chosen, *order[:_BEST], *thinned]))


def _line(trials: Trials, shown: Sequence[Parameter], place: int) -> Iterable[Row]:
    heights = [*(trials.places[one.name][place] for one in shown), _height(trials, trials.losses[place])]
    for axis, height in enumerate(heights):
        yield {"axis": axis, "height": height, "trial": place, "mark": trials.marks[place]}


def _height(trials: Trials, loss: float) -> float:
    return (trials.shown(loss) - trials.low) / (trials.high - trials.low)


def _axes(number: int, upright: bool, rows: Datasets) -> Any:
    axes = [{"axis": axis, "height": 0.0, "end": 1.0} for axis in range(number)]
    rule = alt.Chart(rows.add(axes)).mark_rule(color=RULE, strokeWidth=1.5)
    return rule.encode(y2=alt.Y2("end:Q")) if upright else rule.encode(x2=alt.X2("end:Q"))


def _strokes(lines: Sequence[Row], rows: Datasets) -> Iterable[Any]:
    few = len({line["trial"] for line in lines}) <= _BEST
    # The later is drawn over the earlier.
    styles = {"": (DIM, 1.0, 0.45 if few else 0.25), "tied": (SERIES[0], 1.4, 0.9), "chosen": (INK, 3.0, 1.0)}
    for mark in styles:
        colour, strength, opacity = styles[mark]
        if found := [line for line in lines if line["mark"] == mark]:
            stroke = alt.Chart(rows.add(found)).mark_line(color=colour, strokeWidth=strength, opacity=opacity)
            yield stroke.encode(detail=alt.Detail("trial:N"), order=alt.Order("axis:Q"))


def _texts(trials: Trials, shown: Sequence[Parameter], upright: bool, rows: Datasets) -> Iterable[Any]:
    """Values and names of the axes."""
    values = rows.add(_values(trials, shown))
    aside: dict[str, Any] = {"align": "left", "dx": 6} if upright else {"align": "center", "dy": 12}
    for style in (_GROUND, _VALUE):
        yield alt.Chart(values).mark_text(**aside, **style).encode(text=alt.Text("text:N"))
    unit = "\nnats a token" if upright else ", nats a token"
    names = [*(one.label for one in shown), f"validation loss{unit}"]
    start = 1.04 if upright else 0.0
    named = rows.add([{"axis": axis, "height": start, "text": name} for axis, name in enumerate(names)])
    before: dict[str, Any] = {"align": "left", "dy": -11}
    above: dict[str, Any] = {"baseline": "bottom", "dy": -22, "lineBreak": "\n"} if upright else before
    for style in (_GROUND, _NAME):
        yield alt.Chart(named).mark_text(**above, **style, fontWeight=600).encode(text=alt.Text("text:N"))


def _values(trials: Trials, shown: Sequence[Parameter]) -> list[Row]:
    found = [
        {"axis": axis, "height": one.place(value), "text": words.one_line(_written(value), 14)}
        for axis, one in enumerate(shown)
        for value in one.ticks
    ]
    ends = ((trials.low, 0.0), ((trials.low + trials.high) / 2, 0.5), (trials.high, 1.0))
    return found + [{"axis": len(shown), "height": height, "text": f"{loss:.2f}"} for loss, height in ends]


def _written(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else words.setting(value)


def _spoken(trials: Trials, shown: Sequence[Parameter]) -> str:
    best = trials.best
    values = ", ".join(f"{one.label} {words.setting(best.plan.get(one.name))}" for one in shown)
    return (
        f"One line for each trial through its {', '.join(one.label for one in shown)} and validation loss. "
        f"The best has {values} and a loss of {words.loss(best.valid_loss or 0.0)}."
    )
