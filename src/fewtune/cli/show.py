"""Print results: a table for people, one JSON document for programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console

from fewtune.experiment.comparing import ComparedRuns
from fewtune.report.runs_text import render_runs
from fewtune.report.summary import Summary
from fewtune.report.text import render_text


def show_summary(summary: Summary, as_json: bool) -> None:
    if as_json:
        print_json(summary.to_json())
    else:
        render_text(summary, Console(highlight=False))


def show_comparison(found: ComparedRuns, as_json: bool, page: Path | None) -> None:
    if as_json:
        print_json(found.comparison.to_json())
        return
    console = Console(highlight=False)
    render_runs(found.comparison, found.summaries, console)
    if page:
        console.print(f"\nReport: {page}", markup=False, soft_wrap=True)


def print_json(document: dict[str, Any]) -> None:
    """One document on stdout, as it is: no colour, no wrapping."""
    print(json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False))
