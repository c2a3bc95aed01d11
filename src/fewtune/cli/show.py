"""Print results: a table for people, one JSON document for programs."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console

from fewtune.report.summary import Summary
from fewtune.report.text import render_text


def show_summary(summary: Summary, as_json: bool) -> None:
    if as_json:
        print_json(summary.to_json())
    else:
        render_text(summary, Console(highlight=False))


def print_json(document: dict[str, Any]) -> None:
    """One document on stdout, as it is: no colour, no wrapping."""
    print(json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False))
