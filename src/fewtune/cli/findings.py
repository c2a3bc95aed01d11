"""What `prepare` found and wrote, for people and for programs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from fewtune.cli.show import print_json
from fewtune.data.check import Finding
from fewtune.experiment.preparation import Prepared

_SHOWN_ROWS = 6


def show_prepared(prepared: Prepared, paths: Mapping[str, Path], as_json: bool) -> None:
    if as_json:
        print_json(document(prepared, paths))
        return
    console = Console(highlight=False, markup=False)
    sources = {example.row: str(example.source) for example in prepared.dataset.examples}
    if prepared.findings:
        console.print(_table(prepared, sources))
    dropped = ", ".join(f"{count} {code}" for code, count in prepared.repaired.dropped.items()) or "none"
    console.print(f"{len(prepared.dataset.examples)} rows read = {len(prepared.kept)} kept + dropped ({dropped}).")
    for name in ("train", "valid", "test"):
        console.print(f"{len(getattr(prepared.split, name)):>6} rows  {paths[name]}", soft_wrap=True)
    console.print(f"Every change, before and after: {paths['repairs']}", soft_wrap=True)


def _table(prepared: Prepared, sources: Mapping[int, str]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("finding", "rows", "what", "repair"):
        table.add_column(heading, overflow="fold")
    for finding in prepared.findings:
        sentence = f"{finding.sentence}{_lines(finding, sources)}"
        table.add_row(finding.code, str(len(finding.rows)), sentence, finding.repair or "")
    return table


def _lines(finding: Finding, sources: Mapping[int, str]) -> str:
    """` Lines 12, 40, ….`, or nothing for a finding about the data as a whole."""
    if not finding.rows:
        return ""
    numbers = ", ".join(sources[row].rpartition(":")[2] for row in finding.rows[:_SHOWN_ROWS])
    more = ", …" if len(finding.rows) > _SHOWN_ROWS else ""
    return f" Line{'' if len(finding.rows) == 1 else 's'} {numbers}{more}."


def document(prepared: Prepared, paths: Mapping[str, Path]) -> dict[str, object]:
    """Schema version 1: rows_read, rows_kept, dropped, task, findings, splits and files."""
    sources = {example.row: str(example.source) for example in prepared.dataset.examples}

    def told(finding: Finding) -> dict[str, object]:
        return {
            "code": finding.code,
            "severity": finding.severity,
            "sentence": finding.sentence,
            "repair": finding.repair,
            "rows": [sources[row] for row in finding.rows],
        }

    return {
        "schema_version": 1,
        "file": str(prepared.dataset.path),
        "sha256": prepared.dataset.sha256,
        "task": prepared.task.kind,
        "rows_read": len(prepared.dataset.examples),
        "rows_kept": len(prepared.kept),
        "dropped": dict(prepared.repaired.dropped),
        "findings": [told(finding) for finding in prepared.findings],
        "splits": {name: len(getattr(prepared.split, name)) for name in ("train", "valid", "test")},
        "files": {name: str(path) for name, path in paths.items()},
    }
