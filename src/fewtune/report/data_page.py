"""What `prepare` found and did, as one HTML file that needs nothing else."""

from __future__ import annotations

from fewtune.report import html
from fewtune.report.data_part import DataPart


def render(data: DataPart, base: str) -> str:
    """The whole page; every text of the data is escaped, and the page forbids itself to load anything."""
    return html.environment().get_template("data_page.html.j2").render(data=data, base=base)
