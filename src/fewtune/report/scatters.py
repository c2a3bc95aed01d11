"""Validation loss by each hyperparameter that was varied, and by what a trial cost, as SVG."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import altair as alt

from fewtune.report import words
from fewtune.report.drawing import Datasets, to_svg
from fewtune.report.importance import importance
from fewtune.report.palette import INK, PAPER, SERIES
from fewtune.report.parameter import Parameter
from fewtune.report.trials import Trials

MOST_PANELS = 6
_CELL = 15
"""Pixels of a dot's neighbourhood: among many trials, one is drawn in each."""
_HEIGHT = 170

Row = dict[str, Any]


def scatters(trials: Trials, width: int) -> str | None:
    """A panel for each hyperparameter that was varied, all with the same axis of losses."""
    shown = panels(trials)
    if not shown:
        return None
    columns = min(len(shown), 3 if width > 500 else 2)
    panel = min((width - 100) // columns - 22, 420)
    rows = Datasets()
    drawn = [_panel(trials, one, panel, rows, first=place % columns == 0) for place, one in enumerate(shown)]
    return to_svg(alt.concat(*drawn, columns=columns, spacing=20), _spoken(trials, shown), rows)


def panels(trials: Trials) -> tuple[Parameter, ...]:
    """The parameters that have one: where there are many, those that explain the most."""
    if len(trials.parameters) <= MOST_PANELS:
        return trials.parameters
    found = importance(trials)
    kept = [share.parameter for share in found.shares[:MOST_PANELS]] if found else trials.parameters[:MOST_PANELS]
    return tuple(one for one in trials.parameters if one in kept)


def _panel(trials: Trials, parameter: Parameter, width: int, rows: Datasets, *, first: bool) -> Any:
    places = trials.drawn(trials.places[parameter.name], width // _CELL, _HEIGHT // _CELL)
    dots = [_dot(trials, place) | {"x": parameter.read(trials.lines[place].plan)} for place in places]
    x, y = _axis(parameter, width), losses_axis(trials, named=first)
    layers = [*_joined(trials, parameter, dots, rows), *marked(dots, rows, many=trials.many)]
    return layered(layers, x, y, width, _HEIGHT)


def _dot(trials: Trials, place: int) -> Row:
    line = trials.lines[place]
    return {"place": place, "loss": trials.shown(line.valid_loss or 0.0), "mark": trials.marks[place]}


def _axis(parameter: Parameter, width: int) -> alt.X:
    if parameter.scale == "named":
        named = alt.Axis(grid=False, labelAngle=0, labelLimit=width / len(parameter.values), labelOverlap=True)
        return alt.X("x:N", title=parameter.label, sort=list(parameter.values), axis=named)
    low, high = parameter.values[0], parameter.values[-1]
    logarithmic = parameter.scale == "logarithmic"
    margin = (high / low) ** 0.08 if logarithmic else 0.08 * (high - low)
    domain = [low / margin, high * margin] if logarithmic else [low - margin, high + margin]
    scale = alt.Scale(type="log" if logarithmic else "linear", domain=domain, nice=False)
    # Ranges have values such as 0.0013287, of which three digits are enough beside an axis.
    axis = alt.Axis(values=sorted(parameter.ticks), format=".3~r", grid=False, labelOverlap=True, labelSeparation=10)
    return alt.X("x:Q", title=parameter.label, scale=scale, axis=axis)


def losses_axis(trials: Trials, *, named: bool = True) -> alt.Y:
    """Validation loss, as all views of a sweep show it."""
    scale = alt.Scale(domain=[trials.low, trials.high], nice=False)
    axis = alt.Axis(tickCount=5) if named else alt.Axis(tickCount=5, labels=False, ticks=False)
    return alt.Y("loss:Q", title="validation loss, nats a token" if named else None, scale=scale, axis=axis)


def _joined(trials: Trials, parameter: Parameter, dots: Sequence[Row], rows: Datasets) -> list[Any]:
    """Thin lines between trials that differ in nothing but this parameter."""
    if trials.many or parameter.scale == "named":
        return []
    joined = [dot | {"series": _others(trials, parameter, dot["place"])} for dot in dots]
    joined.sort(key=lambda dot: (dot["series"], dot["x"]))
    sizes = Counter(dot["series"] for dot in joined)
    lines = [dot for dot in joined if sizes[dot["series"]] > 1]
    if not lines:
        return []
    line = alt.Chart(rows.add(lines)).mark_line(color=SERIES[0], strokeWidth=1, opacity=0.4)
    return [line.encode(detail=alt.Detail("series:N"))]


def _others(trials: Trials, parameter: Parameter, place: int) -> str:
    """What a trial has in common with those that differ in this parameter alone."""
    plan = trials.lines[place].plan
    return " ".join(words.setting(plan.get(one.name)) for one in trials.parameters if one is not parameter)


def layered(layers: Sequence[Any], x: alt.X, y: alt.Y, width: int, height: int) -> Any:
    return alt.layer(*layers, encoding={"x": x, "y": y}, width=width, height=height)


def marked(dots: Sequence[Row], rows: Datasets, *, many: bool) -> list[Any]:
    """A dot for each trial: filled, hollow for those tied with the chosen one, with a ring for the chosen one."""
    of = {mark: [dot for dot in dots if dot["mark"] == mark] for mark in ("", "tied", "chosen")}
    layers: list[Any] = []
    if of[""]:
        plain = alt.Chart(rows.add(of[""]))
        layers.append(plain.mark_circle(size=22 if many else 44, color=SERIES[0], opacity=0.55 if many else 1))
    if of["tied"]:
        size = 26 if many else 44
        tied = alt.Chart(rows.add(of["tied"]))
        layers.append(
            tied.mark_point(size=size, filled=True, color=PAPER, stroke=SERIES[0], strokeWidth=1.8, opacity=1)
        )
    if of["chosen"]:
        chosen = rows.add(of["chosen"])
        layers.append(alt.Chart(chosen).mark_circle(size=50, color=SERIES[0], opacity=1))
        layers.append(alt.Chart(chosen).mark_point(size=170, filled=False, color=INK, strokeWidth=1.8, opacity=1))
    return layers


def _spoken(trials: Trials, shown: Sequence[Parameter]) -> str:
    names = ", ".join(one.label for one in shown)
    best = trials.best
    values = ", ".join(f"{one.label} {words.setting(best.plan.get(one.name))}" for one in shown)
    return (
        f"Validation loss of {words.counted(len(trials.lines), 'trial')} by {names}; "
        f"the lowest is {words.loss(best.valid_loss or 0.0)}, at {values}."
    )
