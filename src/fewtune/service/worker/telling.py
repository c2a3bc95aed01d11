"""Points of a curve in OpenAI's words: the data of an event, its message, a line of the result file."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any

from fewtune.providers.contract import Point

COLUMNS = ("step", "train_loss", "train_accuracy", "valid_loss", "valid_mean_token_accuracy")
"""Of a result file."""
MOST_STEPS = 1000
"""Up to here every step is told."""


def metrics(point: Point) -> dict[str, float]:
    """With the keys of an event's data. Validation is measured on all its rows, so `valid_` and `full_valid_` agree."""
    valid = point.validation
    found: dict[str, float | None] = {
        "step": point.step,
        "total_steps": point.steps,
        "train_loss": point.train_loss,
        "train_mean_token_accuracy": point.train_token_accuracy,
        "valid_loss": valid and valid.loss,
        "valid_mean_token_accuracy": valid and valid.token_accuracy,
        "full_valid_loss": valid and valid.loss,
        "full_valid_mean_token_accuracy": valid and valid.token_accuracy,
    }
    return {name: value for name, value in found.items() if value is not None}


def message(point: Point) -> str:
    parts = [] if point.train_loss is None else [f"training loss={point.train_loss:.2f}"]
    if point.validation:
        loss = f"{point.validation.loss:.2f}"
        parts += [f"validation loss={loss}", f"full validation loss={loss}"]
    return f"Step {point.step}/{point.steps}: {', '.join(parts)}"


def is_told(point: Point) -> bool:
    """Each of up to 1,000 steps, of more each k-th; the last one and those with validation always."""
    every = -(-point.steps // MOST_STEPS) or 1
    return point.step % every == 0 or point.step in (1, point.steps) or point.validation is not None


def result_file(told: Iterable[Mapping[str, Any]]) -> bytes:
    """CSV of the metrics events' data, in order of the step; a cell that nobody measured is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for data in sorted(told, key=lambda one: one["step"]):
        cells = (data.get("train_mean_token_accuracy" if name == "train_accuracy" else name) for name in COLUMNS)
        writer.writerow(["" if cell is None else cell if isinstance(cell, int) else f"{cell:.5f}" for cell in cells])
    return text.getvalue().encode()
