"""runs, show, report: look at what was done."""

from __future__ import annotations

from typing import Annotated

import typer

from fewtune.cli import options


def register(app: typer.Typer) -> None:
    for command in (runs, show, report):
        app.command()(command)


def runs(json: options.Json = False) -> None:
    """List the runs, the newest first."""
    import fewtune
    from fewtune.cli.listing import show_runs

    show_runs(fewtune.runs(), json)


def show(name: options.RunName, json: options.Json = False) -> None:
    """Show a run: its verdict, comparison, sweep, findings and files."""
    import fewtune
    from fewtune.cli.listing import show_unfinished
    from fewtune.cli.show import show_summary

    record = fewtune.find_run(name)
    if record.summary is None:
        show_unfinished(record, json)
    else:
        show_summary(fewtune.open_run(record.id).summary, json)


def report(
    name: options.RunName,
    open_it: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Write a run's report again and print where it is."""
    import fewtune

    path = fewtune.open_run(name).write_report()
    print(path)
    if open_it:
        import webbrowser

        webbrowser.open(path.as_uri())
