"""doctor and config: the machine, the settings and where each came from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from fewtune.cli import options

if TYPE_CHECKING:
    from rich.console import Console

    from fewtune.experiment.diagnosis import Fit


def register(app: typer.Typer) -> None:
    app.command()(doctor)
    app.command()(config)


def doctor(base: options.Base = None, json: options.Json = False) -> None:
    """What this machine has, what will be used, what is missing, and what fits in memory."""
    from dataclasses import asdict

    from rich.console import Console

    from fewtune.cli.show import print_json
    from fewtune.experiment.diagnosis import diagnose

    found = diagnose(base)
    if json:
        print_json({"schema_version": 1, **asdict(found)})
        return
    console = Console(highlight=False)
    for check in found.checks:
        console.print(f"{'ok' if check.ok else 'missing':<8}", style="green" if check.ok else "red", end="")
        console.print(f"{check.name}: ", end="")
        console.print(check.told, markup=False, soft_wrap=True)
    if found.memory:
        _show_fit(found.memory, console)


def _show_fit(fit: Fit, console: Console) -> None:
    from rich.table import Table

    from fewtune.engine.memory import spoken

    kind = "processes" if fit.base_is_shared else "threads"
    rows = (
        ("base", spoken(fit.base_bytes), f"{fit.dtype}, one copy for all trials and workers"),
        ("program", spoken(fit.program_bytes), f"Python and torch; workers: {fit.workers} ({kind})"),
        ("activations", spoken(fit.activation_bytes), f"steps of {fit.rows_per_step} rows of {fit.row_tokens} tokens"),
        ("one trial", spoken(fit.total_bytes), f"all of it, with an adapter of rank {fit.rank} and its optimizer"),
        ("each further", spoken(fit.trial_bytes), "trained beside it, at most"),
        (
            "available",
            "unknown" if fit.available_bytes is None else spoken(fit.available_bytes),
            "what this process has already among it",
        ),
        ("width", "unknown" if fit.width is None else f"{fit.width:,}", "such trials fit together, at most 1,000"),
        (
            "longest row",
            "unknown" if fit.longest_row is None else f"{fit.longest_row:,}",
            f"tokens fit, alone in a step; the base reads {fit.context:,}",
        ),
    )
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for name, size, meaning in rows:
        table.add_row(name, size, meaning)
    table.columns[1].justify = "right"
    console.print(f"\nTraining {fit.base} on {fit.device}, at the peak of memory (a forecast):", markup=False)
    console.print(table)


def config(json: options.Json = False) -> None:
    """Every setting with its value and where it came from."""
    from fewtune.cli.show import print_json
    from fewtune.settings import origins

    found = origins()
    if json:
        listed = {name: {"value": str(value), "origin": origin} for name, (value, origin) in found.items()}
        print_json({"schema_version": 1, "settings": listed})
        return
    for name, (value, origin) in found.items():
        print(f"{name} = {value}  ({origin})")
