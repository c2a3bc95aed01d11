"""What all charts share: one quiet style, and the way from a chart to SVG."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any
from xml.etree import ElementTree

import altair as alt
import vl_convert  # pyright: ignore[reportMissingTypeStubs]
from altair.utils.schemapi import debug_mode

from fewtune.report.palette import DIM, FONT, INK, RULE
from fewtune.report.words import printable

_TOO_FINE = re.compile(r"(\.\d)\d+")
"""Digits of a coordinate past a tenth of a pixel."""
_MOST_ENLARGED = 1.15
"""A single small panel across a whole page would have letters larger than the headings."""
_SVG = "http://www.w3.org/2000/svg"
ElementTree.register_namespace("", _SVG)


def data(rows: list[dict[str, Any]]) -> alt.InlineData:
    return alt.InlineData(values=rows)


class Datasets(dict[str, list[dict[str, Any]]]):
    """The rows of a chart, kept out of it: altair copies a chart at every turn, which thousands of rows would slow."""

    def add(self, rows: list[dict[str, Any]]) -> alt.NamedData:
        name = f"rows{len(self)}"
        self[name] = rows
        return alt.NamedData(name=name)


def unchecked() -> AbstractContextManager[Any]:
    """Within it altair does not check every part of every chart against its schema, which takes longer than drawing."""
    return debug_mode(False)


def _style() -> dict[str, Any]:
    """The one style: no frame, a hairline grid, text in the page's colours."""
    axis = {"domain": False, "tickColor": RULE, "gridColor": RULE, "labelColor": DIM, "titleColor": DIM}
    text = {"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal", "labelPadding": 6}
    title = {"color": INK, "subtitleColor": DIM, "fontSize": 13, "fontWeight": 600, "subtitleFontSize": 12}
    return {
        "background": "transparent",
        "font": FONT,
        "padding": {"left": 10, "top": 6, "bottom": 4, "right": 34},
        "view": {"stroke": None},
        "axis": axis | text | {"titlePadding": 10, "labelFlush": False},
        "title": title | {"anchor": "start", "offset": 8},
        "text": {"color": INK, "fontSize": 12},
    }


def to_svg(chart: Any, label: str, datasets: Mapping[str, list[dict[str, Any]]] | None = None) -> str:
    """The chart as one `<svg>` that fills its container's width; `label` is its text for those who cannot see it.

    It is enlarged but little, so a narrow chart leaves room beside it.
    Nothing is fetched. Colours are CSS variables, with a light page's colours where they are not set.
    """
    spec = chart.to_dict(validate=False)
    spec["config"] = _style()
    spec["datasets"] = spec.get("datasets", {}) | dict(datasets or {})
    drawn = vl_convert.vegalite_to_svg(spec, allowed_base_urls=[])
    root = ElementTree.fromstring(drawn)
    for element in root.iter():
        for name in [name for name in element.attrib if name.startswith(("aria-", "pointer-")) or name == "role"]:
            del element.attrib[name]
        for name in ("transform", "d"):
            if name in element.attrib:
                element.attrib[name] = _TOO_FINE.sub(r"\1", element.attrib[name])
    root.attrib.pop("height")
    widest = _MOST_ENLARGED * float(root.attrib["width"])
    root.attrib |= {"width": "100%", "style": f"max-width: {widest:.0f}px"}
    root.attrib |= {"role": "img", "aria-label": printable(label)}
    return ElementTree.tostring(root, encoding="unicode")
