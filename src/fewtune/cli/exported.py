"""What was exported, and how well it was kept."""

from __future__ import annotations

from dataclasses import asdict

from rich.console import Console

from fewtune.cli.show import print_json
from fewtune.experiment.exporting import Export


def show_export(export: Export, as_json: bool) -> None:
    if as_json:
        print_json({"schema_version": 1, **asdict(export), "folder": str(export.folder)})
        return
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(export.folder)
    console.print(f"Files: {', '.join(export.files)}.", style="dim")
    for drift in export.drifts:
        console.print(
            f"Scored again on {export.rows} held-out rows by {drift.reader}: {drift.mean:.2g} nats a token away from "
            f"the trained model (allowed: {drift.allowed:.2g}; tuning itself: {export.effect:.2g}).",
            style="dim",
        )
