"""What the sweep and each of its trials cost, and the loss that it bought, as SVG."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import altair as alt

from fewtune.report import words
from fewtune.report.drawing import Datasets, to_svg
from fewtune.report.palette import INK
from fewtune.report.scatters import Row, layered, losses_axis, marked
from fewtune.report.summary import Summary, TrialLine
from fewtune.report.trials import Trials

_HEIGHT = 190
_COLUMNS, _ROWS = 24, 12
"""Cells of such a chart in which one trial is drawn where there are many."""


@dataclass(frozen=True, kw_only=True)
class Unit:
    """What the cost of a trial is counted in."""

    name: str
    axis: str
    read: Callable[[TrialLine], float]
    write: Callable[[float], str]


_DOLLARS = Unit(name="dollars", axis="~r", read=lambda line: line.usd or 0.0, write=words.dollars)
_TOKENS = Unit(
    name="trained tokens", axis="~s", read=lambda line: line.tokens, write=lambda n: words.counted(round(n), "token")
)
_SECONDS = Unit(name="seconds", axis="~r", read=lambda line: line.seconds, write=words.duration)


def unit(trials: Trials) -> Unit | None:
    """Dollars where each trial has a price, else tokens, else seconds; None where all cost the same."""
    priced = all(line.usd is not None for line in trials.lines)
    units = (*((_DOLLARS,) if priced else ()), _TOKENS, _SECONDS)
    return next((one for one in units if len({one.read(line) for line in trials.lines}) > 1), None)


def cost(trials: Trials, width: int) -> str | None:
    """Each trial's loss by its cost, and the steps of the cheapest trials that reach each loss."""
    found = unit(trials)
    if found is None:
        return None
    costs = [found.read(line) for line in trials.lines]
    order = sorted(range(len(costs)), key=lambda place: (costs[place], trials.losses[place]))
    steps = [(costs[place], trials.losses[place]) for place in _lowering(trials, order)]
    spoken = f"Validation loss by {found.name} of a trial. From cheap to dear: " + "; ".join(
        f"{words.loss(loss)} for {found.write(paid)}" for paid, loss in steps[-5:]
    )
    return _chart(trials, costs, steps, f"{found.name} of a trial", found.axis, width, spoken + ".")


def best_so_far(summary: Summary, trials: Trials, width: int) -> str | None:
    """The lowest loss so far by the tokens trained so far, in the order of the summary."""
    spent = _spent(summary, trials)
    if spent[-1] == spent[0]:
        return None
    steps = [(spent[place], trials.losses[place]) for place in _lowering(trials, range(len(spent)))]
    spoken = (
        f"The lowest validation loss fell from {words.loss(steps[0][1])} to {words.loss(steps[-1][1])}; "
        f"it was reached after {words.count(round(steps[-1][0]))} of {words.count(round(spent[-1]))} trained tokens."
    )
    return _chart(trials, spent, steps, "trained tokens spent so far", "~s", width, spoken)


def _spent(summary: Summary, trials: Trials) -> list[float]:
    """Tokens spent when each trial was done. Trials of one trunk are read off one training, which is paid once."""
    trained: dict[str, int] = {}
    total, after = 0, dict[str, int]()
    for line in summary.trials:
        more = max(0, line.tokens - trained.get(line.trunk, 0))
        trained[line.trunk] = trained.get(line.trunk, 0) + more
        total += more
        after[line.id] = total
    return [float(after[line.id]) for line in trials.lines]


def _lowering(trials: Trials, order: Iterable[int]) -> list[int]:
    """Those whose loss is lower than that of all before them."""
    found: list[int] = []
    for place in order:
        if not found or trials.losses[place] < trials.losses[found[-1]]:
            found.append(place)
    return found


def _chart(
    trials: Trials,
    across: Sequence[float],
    steps: Sequence[tuple[float, float]],
    title: str,
    format: str,
    width: int,
    spoken: str,
) -> str:
    low, high = min(across), max(across)
    room = 0.04 * (high - low)
    places = trials.drawn([(value - low) / (high - low) for value in across], _COLUMNS, _ROWS)
    dots = [_dot(trials, place, across[place]) for place in places]
    scale = alt.Scale(domain=[max(low - room, 0) if low >= 0 else low - room, high + room], nice=False)
    x = alt.X("x:Q", title=title, scale=scale, axis=alt.Axis(format=format, grid=False, tickCount=5))
    rows = Datasets()
    ends = [*steps, (high, steps[-1][1])]
    line = alt.Chart(rows.add([{"x": value, "loss": trials.shown(loss)} for value, loss in ends]))
    layers = [
        line.mark_line(interpolate="step-after", color=INK, strokeWidth=1.6, opacity=0.8),
        *marked(dots, rows, many=trials.many),
    ]
    return to_svg(layered(layers, x, losses_axis(trials), width - 110, _HEIGHT), spoken, rows)


def _dot(trials: Trials, place: int, x: float) -> Row:
    return {"x": x, "loss": trials.shown(trials.losses[place]), "mark": trials.marks[place]}
