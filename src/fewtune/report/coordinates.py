"""A sweep's trials in parallel coordinates: an upright axis for each hyperparameter, the last for the loss."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import altair as alt

from fewtune.report import words
from fewtune.report.drawing import DIM, INK, PAPER, RULE, SERIES, Datasets, to_svg
from fewtune.report.parameter import Parameter
from fewtune.report.scatters import Row, panels
from fewtune.report.trials import Trials

MOST_LINES = 80
_BEST = 20
_HEIGHT = 230
_LAYERS = ("", "tied", "chosen")
"""The later is drawn over the earlier."""


def coordinates(trials: Trials, width: int) -> str | None:
    """One line for each trial; None where fewer than two parameters vary, which a scatter shows better."""
    shown = panels(trials)
    if len(shown) < 2:
        return None
    rows = Datasets()
    lines = [row for place in drawn_lines(trials) for row in _line(trials, shown, place)]
    layers = [_axes(len(shown) + 1, rows), *_strokes(lines, rows), *_texts(trials, shown, width, rows)]
    x = alt.X("axis:Q", axis=None, scale=alt.Scale(domain=[0, len(shown)], nice=False))
    y = alt.Y("height:Q", axis=None, scale=alt.Scale(domain=[-0.04, 1.04], nice=False))
    chart = alt.layer(*layers).encode(x=x, y=y)
    return to_svg(chart.properties(width=width - 150, height=_HEIGHT), _spoken(trials, shown), rows)


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


def _axes(number: int, rows: Datasets) -> Any:
    axes = [{"axis": axis, "height": 0.0, "top": 1.0} for axis in range(number)]
    return alt.Chart(rows.add(axes)).mark_rule(color=RULE, strokeWidth=1.5).encode(y2=alt.Y2("top:Q"))


def _strokes(lines: Sequence[Row], rows: Datasets) -> Iterable[Any]:
    few = len(lines) <= 20 * len({line["axis"] for line in lines})
    styles = {"": (DIM, 1.0, 0.45 if few else 0.25), "tied": (SERIES[0], 1.4, 0.9), "chosen": (INK, 3.0, 1.0)}
    for mark in _LAYERS:
        colour, strength, opacity = styles[mark]
        if found := [line for line in lines if line["mark"] == mark]:
            stroke = alt.Chart(rows.add(found)).mark_line(color=colour, strokeWidth=strength, opacity=opacity)
            yield stroke.encode(detail=alt.Detail("trial:N"))


def _texts(trials: Trials, shown: Sequence[Parameter], width: int, rows: Datasets) -> Iterable[Any]:
    """The values beside each axis, on a ground of the page's colour so that the lines do not cross them."""
    most = 14 if width > 500 else 8
    labels = [
        {"axis": axis, "height": one.place(value), "text": words.one_line(_written(value), most)}
        for axis, one in enumerate(shown)
        for value in one.ticks
    ]
    ends = ((trials.low, 0.0), ((trials.low + trials.high) / 2, 0.5), (trials.high, 1.0))
    labels += [{"axis": len(shown), "height": height, "text": f"{loss:.2f}"} for loss, height in ends]
    values = rows.add(labels)
    for style in ({"color": PAPER, "stroke": PAPER, "strokeWidth": 4, "strokeJoin": "round"}, {"color": DIM}):
        text = alt.Chart(values).mark_text(align="left", dx=6, fontSize=12, **style)
        yield text.encode(text=alt.Text("text:N"))
    titles = [
        {"axis": axis, "height": 1.04, "text": _title(name, width)}
        for axis, name in enumerate([*(one.label for one in shown), "validation loss"])
    ]
    title = alt.Chart(rows.add(titles)).mark_text(baseline="bottom", lineBreak="\n", dy=-8, color=INK, fontWeight=600)
    yield title.encode(text=alt.Text("text:N"))


def _written(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else words.setting(value)


def _title(name: str, width: int) -> str:
    """In a narrow chart, each word on a line of its own."""
    return name.replace(" ", "\n") if width <= 500 else name


def _spoken(trials: Trials, shown: Sequence[Parameter]) -> str:
    best = trials.best
    values = ", ".join(f"{one.label} {words.setting(best.plan.get(one.name))}" for one in shown)
    return (
        f"One line for each trial through its {', '.join(one.label for one in shown)} and validation loss. "
        f"The best has {values} and a loss of {words.loss(best.valid_loss or 0.0)}."
    )
