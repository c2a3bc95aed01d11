"""Every chart of a run, drawn for a wide and a narrow page, and written as files of their own."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import vl_convert  # pyright: ignore[reportMissingTypeStubs]
from markupsafe import Markup

from fewtune.errors import from_os_error
from fewtune.report import charts, curves, sizes, step_curves, views
from fewtune.report.summary import Summary
from fewtune.report.views import Drawing

WIDE, NARROW = 880, 350
_PAPER = "#fdfcfa"
_PIXELS = 2
"""Of a PNG for each of the chart."""
_VARIABLE = re.compile(r"var\(--[\w-]+, ([^)]+)\)")
_SVG = "{http://www.w3.org/2000/svg}"


def pictures(summary: Summary) -> dict[str, Drawing]:
    """By name; those with nothing to draw are left out."""
    drawn: dict[str, Drawing] = {}
    ways: tuple[tuple[str, Callable[[Summary, int], str | None]], ...] = (
        ("comparison", charts.comparison),
        ("curves", curves.learning_curves),
        ("steps", partial(step_curves.step_curves, smooth=False)),
        ("steps-smoothed", partial(step_curves.step_curves, smooth=True)),
        ("sizes", sizes.sizes),
    )
    for name, draw in ways:
        wide, narrow = draw(summary, WIDE), draw(summary, NARROW)
        if wide and narrow:
            drawn[name] = (Markup(wide), Markup(narrow))
    return drawn


def write_charts(summary: Summary, folder: Path) -> list[Path]:
    """Each chart as `NAME.svg` and `NAME.png`, in a light page's colours; the folder is made.

    Raises UsageError where the folder cannot be written, UnfinishedError when the disk is full.
    """
    found = views.views(summary, WIDE, NARROW)
    drawn = pictures(summary) | (found.drawings if found else {})
    written: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, (wide, _) in drawn.items():
            svg = standalone(wide)
            written += [folder / f"{name}.svg", folder / f"{name}.png"]
            written[-2].write_text(svg, encoding="utf-8")
            written[-1].write_bytes(vl_convert.svg_to_png(svg, scale=_PIXELS))
    except OSError as error:
        raise from_os_error(error, "write the charts", folder) from error
    return written


def standalone(drawing: str) -> str:
    """A chart of the page for a place without the page: with its colours, its size and a ground."""
    root = ElementTree.fromstring(_VARIABLE.sub(r"\1", drawing))
    _, _, width, height = root.attrib["viewBox"].split()
    root.attrib |= {"width": width, "height": height}
    root.insert(0, ElementTree.Element(f"{_SVG}rect", {"width": width, "height": height, "fill": _PAPER}))
    return ElementTree.tostring(root, encoding="unicode")
