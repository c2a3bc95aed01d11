"""The views of a sweep, and what their captions have to say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from markupsafe import Markup

from fewtune.report import charts, coordinates, scatters, spending
from fewtune.report.drawing import unchecked
from fewtune.report.importance import FEW_TRIALS, Importance, importance
from fewtune.report.spending import Unit
from fewtune.report.summary import Summary
from fewtune.report.trials import ALL_DRAWN, Trials, trials

Drawing = tuple[Markup, Markup]
"""For a wide and for a narrow page."""


@dataclass(frozen=True, kw_only=True)
class Views:
    trials: Trials
    importance: Importance | None
    unit: Unit | None
    drawings: dict[str, Drawing]
    """`importance`, `scatters`, `coordinates`, `best` and `cost`; one that would say nothing is absent."""

    @property
    def few(self) -> bool:
        """Whether so few trials say little about what matters."""
        return self.importance is not None and self.importance.trials < FEW_TRIALS

    @property
    def thinned(self) -> bool:
        return len(self.trials.lines) > ALL_DRAWN

    @property
    def lines_drawn(self) -> int:
        """Lines of the parallel coordinates."""
        return len(coordinates.drawn_lines(self.trials))

    @property
    def left_out(self) -> int:
        """Parameters without a panel."""
        return len(self.trials.parameters) - len(scatters.panels(self.trials))


def views(summary: Summary, wide: int, narrow: int) -> Views | None:
    """Drawn for pages of these widths in pixels; None where there are not two trials to compare."""
    found = trials(summary)
    if found is None:
        return None
    shares = importance(found)
    with unchecked():
        drawings = dict(_drawings(summary, found, shares, wide, narrow))
    return Views(trials=found, importance=shares, unit=spending.unit(found), drawings=drawings)


def _drawings(
    summary: Summary, found: Trials, shares: Importance | None, wide: int, narrow: int
) -> Iterator[tuple[str, Drawing]]:
    half = (wide - 40) // 2
    for name, draw, width in (
        ("importance", partial(charts.shares, shares), wide),
        ("scatters", partial(scatters.scatters, found), wide),
        ("coordinates", partial(coordinates.coordinates, found), wide),
        ("best", partial(spending.best_so_far, summary, found), half),
        ("cost", partial(spending.cost, found), half),
    ):
        on_wide, on_narrow = draw(width), draw(narrow)
        if on_wide and on_narrow:
            yield name, (Markup(on_wide), Markup(on_narrow))
