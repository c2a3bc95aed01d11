from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fewtune.providers.contract import Workspace
from fewtune.types import Example, Source
from standin.openai_standin import BASE_MODEL, KEY, Standin

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
def standin(monkeypatch: pytest.MonkeyPatch) -> Iterator[Standin]:
    """A running service, with the environment pointing at it."""
    service = Standin()
    monkeypatch.setenv("OPENAI_BASE_URL", service.url)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield service
    service.close()


@pytest.fixture
def hosted(standin: Standin, examples: dict[int, Example], tmp_path: Path) -> Workspace:
    return Workspace(base=BASE_MODEL, examples=examples, folder=tmp_path / "hosted")
