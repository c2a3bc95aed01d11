"""The grid that `bench.sweep` measures, and the rows that both sides train on."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice, product
from pathlib import Path
from typing import Any

import fewtune
from fewtune.bases.folder import open_encoder
from fewtune.data.encode import Encoded

BASE = "pocket"
EPOCHS, BATCH_SIZES, LEARNING_RATES = (1, 2, 4, 8), (2, 8), (5e-4, 2e-3)
"""The rates are the lowest and the highest that a sweep of this base would try by itself."""
WARMUP_STEPS = 10
"""As every plan of ours has."""


@dataclass(frozen=True, kw_only=True)
class GridRun:
    """One of the grid's plans, trained by itself."""

    data: str
    epochs: int
    batch_size: int
    learning_rate: float
    grouped: bool = False
    """Padded batches grouped by length; else padding-free."""
    seed: int = 0

    @property
    def key(self) -> str:
        return f"{self.epochs} epochs, batch {self.batch_size}, rate {self.learning_rate:g}"

    def job(self) -> dict[str, Any]:
        return asdict(self)


def grid(data: str) -> tuple[GridRun, ...]:
    """In the order of a loop that somebody would write: rates outside, epochs inside."""
    plans = product(LEARNING_RATES, BATCH_SIZES, EPOCHS)
    return tuple(
        GridRun(data=data, epochs=epochs, batch_size=batch, learning_rate=rate) for rate, batch, epochs in plans
    )


def rows(data: str) -> tuple[list[Encoded], list[Encoded]]:
    """Training and validation rows as a sweep parts them, as ids."""
    split, encoder = fewtune.prepare(data, base=BASE).split, open_encoder(BASE)
    return [encoder.example(one) for one in split.train], [encoder.example(one) for one in split.valid]


def shortened(data: Path, count: int, folder: Path) -> Path:
    """A CSV of the first so many rows, to try the measurement with."""
    target = folder / data.name
    with data.open(encoding="utf-8", newline="") as source, target.open("w", encoding="utf-8", newline="") as written:
        lines: Sequence[list[str]] = list(islice(csv.reader(source), count + 1))
        csv.writer(written).writerows(lines)
    return target
