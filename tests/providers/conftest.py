from __future__ import annotations

from pathlib import Path

import pytest

from fewtune.providers.contract import Workspace
from fewtune.types import Example, Source
from standin.openai_standin import BASE_MODEL, Standin

CAPITALS = {
    "France": "Paris",
    "Italy": "Rome",
    "Spain": "Madrid",
    "Japan": "Tokyo",
    "Peru": "Lima",
    "Norway": "Oslo",
    "Egypt": "Cairo",
    "Greece": "Athens",
    "Cuba": "Havana",
    "Kenya": "Nairobi",
}


@pytest.fixture
def examples() -> dict[int, Example]:
    """Ten rows: tests train on the first eight and validate on the last two."""
    return {
        row: Example(
            row=row,
            prompt=f"Capital of {country}?",
            completion=f"It is {capital}.",
            source=Source(file="capitals.csv", line=row + 2),
        )
        for row, (country, capital) in enumerate(CAPITALS.items())
    }


@pytest.fixture
def hosted(standin: Standin, examples: dict[int, Example], tmp_path: Path) -> Workspace:
    return Workspace(base=BASE_MODEL, examples=examples, folder=tmp_path / "hosted")
