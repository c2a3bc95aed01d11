"""Writes what was prepared: the three parts, the folds, every change, and the report on the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from fewtune.data.rendering import RowShape
from fewtune.data.write import write_changes, write_document, write_rows
from fewtune.errors import from_os_error
from fewtune.experiment.data_reporting import data_part
from fewtune.experiment.preparation import Prepared
from fewtune.report import data_page, html
from fewtune.report.data_part import DataPart
from fewtune.types import Example

SCHEMA_VERSION = 1


def write_parts(prepared: Prepared, folder: Path, shape: RowShape) -> dict[str, Path]:
    """Write train.jsonl, valid.jsonl, test.jsonl and repairs.jsonl; gives the paths by name."""
    parts = {"train": prepared.split.train, "valid": prepared.split.valid, "test": prepared.split.test}
    paths = _write(folder, parts, shape)
    write_changes(folder / "repairs.jsonl", prepared.changes)
    return paths | {"repairs": folder / "repairs.jsonl"}


def write_folds(prepared: Prepared, folder: Path, shape: RowShape, k: int) -> dict[str, Path]:
    """Write fold-1/train.jsonl, fold-1/valid.jsonl and so on; over all of them every kept row is judged once."""
    paths: dict[str, Path] = {}
    for number, fold in enumerate(prepared.folds(k), 1):
        written = _write(folder / f"fold-{number}", {"train": fold.train, "valid": fold.judge}, shape)
        paths |= {f"fold_{number}_{name}": path for name, path in written.items()}
    return paths


def write_report(prepared: Prepared, folder: Path) -> dict[str, Path]:
    """Write data-report.json and data-report.html."""
    part = data_part(prepared)
    paths = {"data_report": folder / "data-report.json", "data_page": folder / "data-report.html"}
    write_document(paths["data_report"], document(part))
    html.write_page(data_page.render(part, prepared.base), paths["data_page"])
    return paths


def document(part: DataPart) -> dict[str, object]:
    """The documented JSON of a data report."""
    return {"schema_version": SCHEMA_VERSION, **asdict(part)}


def _write(folder: Path, parts: Mapping[str, Sequence[Example]], shape: RowShape) -> dict[str, Path]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise from_os_error(error, "make the folder for the prepared rows", folder) from error
    paths = {name: folder / f"{name}.jsonl" for name in parts}
    for name, examples in parts.items():
        write_rows(paths[name], examples, shape)
    return paths
