"""Best validation loss so far against seconds: what each contender of `bench.sweep` came to, as a table and as SVG."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from fewtune.report.drawing import data, to_svg
from fewtune.report.palette import INK, SERIES

HEADINGS = ("contender", "epochs trained", "seconds", "CPU seconds", "faster", "lowest loss", "against the grid's")
_COLOURS = (INK, *SERIES)
_WIDTH, _HEIGHT = 330, 240


@dataclass(frozen=True, kw_only=True)
class Lane:
    """One contender on one data set."""

    name: str
    seconds: float
    cpu_seconds: float
    epochs: float
    lowest: float
    """Of all validation losses of plans in the grid."""
    curve: tuple[tuple[float, float], ...]
    """Seconds and the lowest validation loss until then, where it fell."""


def swept(name: str, found: Mapping[str, Any]) -> Lane:
    curve = [(seconds, loss) for _, _, seconds, loss in found["curve"]]
    return Lane(
        name=name,
        seconds=found["seconds"],
        cpu_seconds=found["cpu_seconds"],
        epochs=found["epochs"],
        lowest=found["lowest_loss"],
        curve=_falling(curve),
    )


def one_after_another(name: str, found: Sequence[Mapping[str, Any]]) -> Lane:
    """The grid's runs, each of which begins where the one before ended."""
    curve: list[tuple[float, float]] = []
    before = 0.0
    for run in found:
        curve += [(before + seconds, loss) for _, seconds, loss in run["curve"]]
        before += run["seconds"]
    return Lane(
        name=name,
        seconds=before,
        cpu_seconds=sum(run["cpu_seconds"] for run in found),
        epochs=sum(run["epochs"] for run in found),
        lowest=min(run["curve"][-1][2] for run in found),
        curve=_falling(curve),
    )


def _falling(points: Iterable[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    found: list[tuple[float, float]] = []
    for seconds, loss in points:
        if not found or loss < found[-1][1]:
            found.append((seconds, loss))
    return tuple(found)


def cells(lane: Lane, peer: Lane) -> tuple[str, ...]:
    """A contender's line of the table, below HEADINGS."""
    return (
        lane.name,
        f"{lane.epochs:g}",
        f"{lane.seconds:,.0f}",
        f"{lane.cpu_seconds:,.0f}",
        f"{peer.seconds / lane.seconds:.1f}",
        f"{lane.lowest:.3f}",
        f"{lane.lowest / peer.lowest - 1:+.1%}",
    )


def drawn(lanes: Mapping[str, Sequence[Lane]]) -> str:
    """A panel for each data set; seconds on a logarithmic axis."""
    panels = [_panel(name, found) for name, found in lanes.items()]
    said = "; ".join(
        f"{name}: " + ", ".join(f"{lane.name} {lane.curve[-1][1]:.3f} in {lane.seconds:,.0f} seconds" for lane in found)
        for name, found in lanes.items()
    )
    return to_svg(alt.hconcat(*panels, spacing=36), f"Lowest validation loss so far against seconds. {said}.")


def _panel(name: str, lanes: Sequence[Lane]) -> Any:
    x = alt.X("seconds:Q", title="seconds", scale=alt.Scale(type="log", nice=False), axis=alt.Axis(grid=False))
    y = alt.Y("loss:Q", title="lowest validation loss so far", scale=alt.Scale(zero=False))
    layers: list[Any] = []
    for place, (lane, colour) in enumerate(zip(lanes, _COLOURS, strict=False)):
        ends = [*lane.curve, (lane.seconds, lane.curve[-1][1])]
        rows = [{"seconds": seconds, "loss": loss} for seconds, loss in ends]
        line = alt.Chart(data(rows)).mark_line(interpolate="step-after", color=colour, strokeWidth=2)
        label = alt.Chart(data([{"name": lane.name}])).mark_text(color=colour, align="right", fontWeight=600)
        layers += [line.encode(x=x, y=y), label.encode(x=alt.value(_WIDTH), y=alt.value(8 + 18 * place), text="name:N")]
    return alt.layer(*layers).properties(width=_WIDTH, height=_HEIGHT, title=name)
