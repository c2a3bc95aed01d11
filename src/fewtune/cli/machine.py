"""doctor and config: the machine, the settings and where each came from."""

from __future__ import annotations

import typer

from fewtune.cli import options


def register(app: typer.Typer) -> None:
    app.command()(doctor)
    app.command()(config)


def doctor(json: options.Json = False) -> None:
    """What this machine has, what will be used, and what is missing."""
    from rich.console import Console

    from fewtune.cli.show import print_json
    from fewtune.experiment.diagnosis import diagnose

    checks = diagnose()
    if json:
        print_json({"schema_version": 1, "checks": [vars(check) for check in checks]})
        return
    console = Console(highlight=False)
    for check in checks:
        console.print(f"{'ok' if check.ok else 'missing':<8}", style="green" if check.ok else "red", end="")
        console.print(f"{check.name}: ", end="")
        console.print(check.told, markup=False, soft_wrap=True)


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
