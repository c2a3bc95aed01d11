"""Tables of runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table

from fewtune.cli.show import print_json
from fewtune.store.keys import KeyRecord
from fewtune.store.runs import RunRecord


def show_runs(records: Sequence[RunRecord], as_json: bool) -> None:
    if as_json:
        listed = [{name: value for name, value in asdict(one).items() if name != "summary"} for one in records]
        print_json({"schema_version": 1, "runs": listed})
        return
    console = Console(highlight=False, markup=False)
    if not records:
        console.print("No runs yet. Begin with: fewtune run DATA")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("run", "state", "began (UTC)", "verdict"):
        table.add_column(heading, overflow="fold")
    for one in records:
        verdict = str(one.summary["verdict"]) if one.summary else one.error or ""
        table.add_row(one.id, one.state, one.created_at[:16].replace("T", " "), verdict)
    console.print(table)


def show_unfinished(record: RunRecord, as_json: bool) -> None:
    if as_json:
        print_json({"schema_version": 1, **asdict(record)})
        return
    console = Console(highlight=False, markup=False)
    console.print(f"{record.id}: {record.state}")
    if record.error:
        console.print(record.error)
    console.print(f"Go on with: fewtune resume {record.id}")


def show_keys(records: Sequence[KeyRecord]) -> None:
    console = Console(highlight=False, markup=False)
    if not records:
        console.print("No keys yet. Make one with: fewtune keys create NAME")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("name", "project", "key", "made (UTC)", "used (UTC)", ""):
        table.add_column(heading, overflow="fold")
    for one in records:
        kind = "revoked" if one.revoked_at else "admin" if one.admin else ""
        table.add_row(one.name, one.project, one.hint, _moment(one.created_at), _moment(one.last_used_at), kind)
    console.print(table)


def _moment(seconds: int | None) -> str:
    return "never" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
