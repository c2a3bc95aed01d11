"""The trials of a sweep that a chart can show: their losses, their marks, and which are drawn when there are many."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from fewtune.report import parameter
from fewtune.report.parameter import Parameter
from fewtune.report.summary import Summary, TrialLine

ALL_DRAWN = 150
"""Up to this many trials are all drawn."""
_MANY = 60
_FAR_OUT = 3.0


@dataclass(frozen=True, kw_only=True)
class Trials:
    lines: tuple[TrialLine, ...]
    """Those with a finite validation loss, in the order of the summary."""
    losses: tuple[float, ...]
    marks: tuple[str, ...]
    """`chosen`, `tied` or something else, one for each line."""
    parameters: tuple[Parameter, ...]
    """What these lines vary."""
    low: float
    high: float
    """The ends of the axis of losses; higher losses are drawn at its upper end."""

    @cached_property
    def places(self) -> Mapping[str, tuple[float, ...]]:
        """By parameter, where each line stands between the ends of its axis, 0 to 1."""
        return {one.name: tuple(_places(one, self.lines)) for one in self.parameters}

    @property
    def many(self) -> bool:
        """Whether dots have to be small, and lines between them would hide them."""
        return len(self.lines) > _MANY

    @property
    def beyond(self) -> int:
        """How many losses are higher than the axis."""
        return sum(loss > self.high for loss in self.losses)

    @property
    def best(self) -> TrialLine:
        return min(self.lines, key=lambda line: line.valid_loss or 0.0)

    def shown(self, loss: float) -> float:
        """Where a loss is drawn."""
        return min(loss, self.high)

    def drawn(self, across: Sequence[float], columns: int, rows: int) -> list[int]:
        """Places of the lines to draw: all, or one of those that would lie on one another.

        `across` has each line's place on the other axis, 0 to 1. The chosen line is always drawn, and so are the
        highest and the lowest of each column.
        """
        if len(self.lines) <= ALL_DRAWN:
            return list(range(len(self.lines)))
        losses = np.minimum(np.array(self.losses), self.high)
        column = (np.array(across) * columns).astype(int)
        cells = column * (rows + 1) + ((losses - self.low) / (self.high - self.low) * rows).astype(int)
        upward = np.argsort(losses, kind="stable")
        firsts = (
            np.unique(cells, return_index=True)[1],
            *(_first_of(column, order) for order in (upward, upward[::-1])),
        )
        chosen = [place for place, mark in enumerate(self.marks) if mark == "chosen"]
        return sorted({*(int(place) for first in firsts for place in first), *chosen})


def _first_of(column: npt.NDArray[np.intp], order: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """The first of each column in this order."""
    return order[np.unique(column[order], return_index=True)[1]]


def trials(summary: Summary) -> Trials | None:
    """None where there are fewer than two: one trial has nothing beside it."""
    lines = tuple(line for line in summary.trials if line.valid_loss is not None and math.isfinite(line.valid_loss))
    if len(lines) < 2:
        return None
    losses = tuple(line.valid_loss or 0.0 for line in lines)
    fence = far_out(losses)
    inside = [loss for loss in losses if loss <= fence]
    margin = 0.1 * (max(inside) - min(inside)) or 0.1
    tied = set(summary.tied)
    return Trials(
        lines=lines,
        losses=losses,
        marks=tuple(_mark(line.id, summary.chosen, tied) for line in lines),
        parameters=parameter.varied([line.plan for line in lines]),
        low=min(inside) - margin,
        high=max(inside) + margin,
    )


def _places(parameter: Parameter, lines: Sequence[TrialLine]) -> Iterator[float]:
    found = {value: parameter.place(value) for value in parameter.values}
    return (found[parameter.read(line.plan)] for line in lines)


def far_out(values: Sequence[float]) -> float:
    """Tukey's outer fence: three interquartile ranges above the upper quartile. Few values have none."""
    if len(values) < 4:
        return math.inf
    lower, _, upper = statistics.quantiles(values, n=4, method="inclusive")
    return upper + _FAR_OUT * (upper - lower) if upper > lower else math.inf


def _mark(name: str, chosen: str | None, tied: set[str]) -> str:
    return "chosen" if name == chosen else "tied" if name in tied else ""
