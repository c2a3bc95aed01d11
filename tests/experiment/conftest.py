"""Small runs for the tests of the main job."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest


@pytest.fixture
def few_rows(tmp_path: Path, examples_folder: Path) -> Path:
    """The first forty orders as a file of their own."""
    with (examples_folder / "orders.csv").open(encoding="utf-8", newline="") as opened:
        rows = list(csv.reader(opened))[:41]
    path = tmp_path / "few.csv"
    with path.open("w", encoding="utf-8", newline="") as opened:
        csv.writer(opened).writerows(rows)
    return path
