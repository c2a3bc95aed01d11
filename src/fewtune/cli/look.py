"""runs, show, report, compare: look at what was done."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fewtune.cli import options


def register(app: typer.Typer) -> None:
    for command in (runs, show, report, compare):
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
    predictions: Annotated[
        list[Path] | None,
        typer.Option("--predictions", help="Write all answers to this .csv or .jsonl too; may be repeated."),
    ] = None,
    charts: Annotated[
        Path | None, typer.Option("--charts", help="Write each chart as SVG and PNG into this folder too.")
    ] = None,
) -> None:
    """Write a run's report again and print where it is."""
    import fewtune

    run = fewtune.open_run(name)
    path = run.write_report()
    written = [path, *(run.write_predictions(file) for file in predictions or ())]
    written += run.write_charts(charts) if charts else []
    print("\n".join(map(str, written)))
    if open_it:
        import webbrowser

        webbrowser.open(path.as_uri())


def compare(
    names: Annotated[list[str], typer.Argument(help="Two runs or more, as `fewtune show` takes them.")],
    html: Annotated[Path | None, typer.Option("--html", help="Write the comparison as an HTML file too.")] = None,
    json: options.Json = False,
) -> None:
    """Show several runs side by side, each compared with the first one."""
    import fewtune
    from fewtune.cli.show import show_comparison

    found = fewtune.compare(*names)
    if html:
        found.write_report(html)
    show_comparison(found, json, html)
